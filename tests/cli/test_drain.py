import time

import pytest

from gateway import config
from gateway.draining import Flag, Master
from tests.serving import write_config


@pytest.fixture
def flag(tmp_path, monkeypatch):
    path = write_config(tmp_path, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    return Flag(config.load())


@pytest.fixture
def slept(flag, monkeypatch):
    """The seconds that were waited, and whether the flag was up then."""
    found = []
    monkeypatch.setattr(time, "sleep", lambda seconds: found.append((seconds, flag.path.exists())))
    return found


@pytest.fixture
def master(monkeypatch):
    monkeypatch.setattr(Master, "runs", True)


@pytest.fixture
def run():
    from click.testing import CliRunner

    from gateway.cli import main

    return lambda *arguments: CliRunner().invoke(main, ["drain", *arguments])


def test_flag_is_up_while_it_waits(run, master, slept):
    result = run("--wait", "5")
    assert (result.exit_code, result.output) == (0, "")
    assert slept == [(5, True)]


def test_second_drain_is_the_first(run, master, flag):
    assert [run().exit_code for _ in range(2)] == [0, 0]
    assert flag.up


def test_where_nothing_runs_one_sentence_says_so_at_once(run, flag, slept):
    result = run("--wait", "5")
    assert (result.exit_code, result.stdout, slept) == (1, "", [])
    assert result.stderr.startswith("No gateway runs at 127.0.0.1:")
    assert result.stderr.count("\n") == 1 and str(flag.path.parent) in result.stderr
    assert flag.up  # in case that this is not true; the next start takes it down


def test_state_folder_that_no_gateway_has_made_is_not_made_by_a_drain(
    run, monkeypatch, tmp_path, slept
):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/gateway")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    result = run("--wait", "5")
    assert (result.exit_code, slept) == (1, [])
    assert result.stderr.startswith("No gateway runs at ")
    assert str(tmp_path / "var") in result.stderr and not (tmp_path / "var").exists()


@pytest.mark.parametrize("wait", ["-1", "soon", "1e9"])
def test_wait_that_is_none_is_refused(run, flag, wait):
    assert run("--wait", wait).exit_code == 2
    assert not flag.up


def test_mistake_in_the_configuration_is_said(run, flag, monkeypatch):
    monkeypatch.setenv("GATEWAY_BIND", "nonsense")
    result = run()
    assert result.exit_code == 2 and "GATEWAY_BIND" in result.output
