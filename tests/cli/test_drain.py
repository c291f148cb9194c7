import time

import pytest

from gateway import config
from gateway.draining import Flag
from tests.serving import write_config


@pytest.fixture
def flag(tmp_path, monkeypatch):
    path = write_config(tmp_path, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    return Flag(config.load())


@pytest.fixture
def run():
    from click.testing import CliRunner

    from gateway.cli import main

    return lambda *arguments: CliRunner().invoke(main, ["drain", *arguments])


def test_flag_goes_up_also_where_nothing_runs(run, flag):
    assert run().exit_code == 0
    assert flag.up


def test_flag_is_up_while_it_waits(run, flag, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append((seconds, flag.path.exists())))
    assert run("--wait", "5").exit_code == 0
    assert slept == [(5, True)]


@pytest.mark.parametrize("wait", ["-1", "soon", "1e9"])
def test_wait_that_is_none_is_refused(run, flag, wait):
    assert run("--wait", wait).exit_code == 2
    assert not flag.up


def test_mistake_in_the_configuration_is_said(run, flag, monkeypatch):
    monkeypatch.setenv("GATEWAY_BIND", "nonsense")
    result = run()
    assert result.exit_code == 2 and "GATEWAY_BIND" in result.output
