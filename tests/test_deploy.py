"""What deploy/ holds is taken by the programs that it is for, as far as they are installed."""

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
