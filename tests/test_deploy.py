"""What deploy/ holds is taken by the programs that it is for, as far as they are installed."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from gateway import config

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("gateway*.service"))
COMMAND = DEPLOY / "systemd/gateway.sh"
EXAMPLES = sorted((DEPLOY / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_configuration_is_valid(path):
    found = config.load({"OPENAI_API_KEY": "k", "POSTGRES_PASSWORD": "p"}, path)
    assert found.models


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_can_be_read(path):
    assert yaml.safe_load(path.read_text())


@pytest.fixture
def units(tmp_path):
    """The units as they are installed, but for the program, which is not there."""
    for path in (*UNITS, DEPLOY / "systemd/gateway.socket"):
        text = path.read_text().replace("/opt/gateway/current/bin/gateway", "/bin/true")
        (tmp_path / path.name).write_text(text)
    for unit in UNITS:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        shutil.copy(DEPLOY / "systemd/hardening.conf", folder)
    return tmp_path


def analyze(*arguments, units):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    environ = {"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"}
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_units_are_valid(units):
    paths = [str(path) for path in units.iterdir() if path.is_file()]
    found = analyze("verify", *paths, units=units)
    complaints = [line for line in found.stderr.splitlines() if "gateway" in line]
    assert (found.returncode, complaints) == (0, [])


@pytest.mark.parametrize("unit", [path.name for path in UNITS])
def test_units_are_hardened(units, unit):
    found = analyze("security", "--offline=true", "--threshold=20", unit, units=units)
    assert found.returncode == 0, found.stdout[-300:]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_wait_longer_than_streams_may_take(path):
    seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", path.read_text(), re.M)[1])
    assert seconds > config.Settings().server.drain


def settings(path):
    """Return the lines of a unit that set something."""
    return {line for line in path.read_text().splitlines() if re.match(r"\w+=", line)}


def test_units_see_the_name_of_the_boot():
    """By it the limits' file of before a power cut is known."""
    assert "ProcSubset=pid" not in settings(DEPLOY / "systemd/hardening.conf")


def test_gateway_starts_behind_its_socket_and_outlives_it():
    found = settings(DEPLOY / "systemd/gateway.service")
    assert any(line.startswith("After=") and "gateway.socket" in line for line in found)
    assert not [line for line in found if re.match("(Requires|BindsTo|PartOf)=", line)]


@pytest.fixture
def ran(tmp_path):
    """Return a function that runs the command in deploy/ and gives systemd-run's arguments."""
    there = tmp_path / "bin"
    there.mkdir()
    (there / "systemd-run").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\nexit 3\n')
    (there / "systemd-run").chmod(0o755)
    environ = {"PATH": f"{there}:{os.environ['PATH']}"}

    def run(*arguments):
        command = [COMMAND, *arguments]
        done = subprocess.run(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE)
        assert done.returncode == 3
        return done.stdout.decode().split("\0")[:-1]

    return run


def test_command_has_what_the_unit_gives_the_gateway(ran, tmp_path):
    given = ran("keys", "list")
    properties = {word.removeprefix("--property=") for word in given if word[:3] == "--p"}
    unit = settings(DEPLOY / "systemd/gateway.service")
    names = ("User", "Group", "StateDirectory", "Environment", "LimitNOFILE")
    assert properties >= {line for line in unit if line.startswith(names)}
    assert f"WorkingDirectory=-{tmp_path}" in properties
    (started,) = (line for line in unit if line.startswith("ExecStart="))
    program = started.removeprefix("ExecStart=").removesuffix(" serve")
    assert given[given.index("--") + 1 :] == [program, "keys", "list"]


def test_command_passes_on_its_arguments_and_its_exit_status(ran):
    given = ran("keys", "create", "two words", "--", "", "*")
    assert given[-5:] == ["create", "two words", "--", "", "*"]


def test_files_that_the_page_installs_are_there():
    page = (ROOT / "docs/deploying.md").read_text()
    named = set(re.findall(r"\bdeploy/[\w./*-]+\w", page)) | set(
        f"deploy/{path}" for path in re.findall(r"^\| `([\w./*-]+)`", page, re.M)
    )
    assert len(named) > 8
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


def test_socket_listens_where_the_configuration_says():
    server = config.Settings().server
    text = (DEPLOY / "systemd/gateway.socket").read_text()
    assert re.findall(r"^ListenStream=(.*)$", text, re.M) == [server.bind, server.ops_bind]


def test_site_takes_what_the_gateway_takes():
    server, text = config.Settings().server, (DEPLOY / "nginx/gateway.conf").read_text()
    assert f"client_max_body_size        {server.max_body_mb}m;" in text
    read = int(re.search(r"proxy_read_timeout +(\d+)s;", text)[1])
    assert read > config.Settings().timeouts.stream_total
    assert f"server {server.bind} " in text
