import os
import re
import socket
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import binding
from gateway.cli import main
from gateway.cli.serve import CONFIGURATION, check_free
from gateway.config.shape import Server
from tests.cli.test_check import GOOD

SECRET = "sk-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}"


@pytest.fixture
def execs(tmp_path, monkeypatch):
    """Return what the process would have become; the environment is put back."""
    before, found = dict(os.environ), []
    for name in list(os.environ):
        if name.startswith("GATEWAY_") or name == "WEB_CONCURRENCY":
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gateway.cli.serve.free_or_raise", lambda host, port: None)
    monkeypatch.setattr(os, "execv", lambda path, arguments: found.append((path, arguments)))
    yield found
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "gateway.toml").write_text(GOOD)


def run(*arguments):
    return CliRunner().invoke(main, ["serve", *arguments], prog_name="gateway")


def test_serve_becomes_gunicorn_with_the_package_s_own_settings(execs, configured):
    done = run()
    assert (done.exit_code, done.output) == (0, "")
    assert execs == [(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(CONFIGURATION)])]
    assert Path(CONFIGURATION).is_file()


def test_options_go_on_in_the_environment(execs, configured):
    run("--bind", "127.0.0.1:9000", "--workers", "3")
    assert (os.environ["GATEWAY_BIND"], os.environ["WEB_CONCURRENCY"]) == ("127.0.0.1:9000", "3")
    assert len(execs) == 1


def test_with_a_configuration_no_key_is_made(execs, configured):
    run()
    assert "GATEWAY_START_KEY" not in os.environ and "GATEWAY_API_KEYS" not in os.environ


@pytest.mark.parametrize("known", [None, "sk-mine"])
def test_without_one_each_start_makes_a_fresh_key(execs, known):
    seen = set()
    for _ in range(2):
        os.environ.pop("GATEWAY_API_KEYS", None)
        if known:
            os.environ["GATEWAY_API_KEYS"] = known
        done = run()
        secret = os.environ["GATEWAY_START_KEY"]
        assert re.fullmatch(SECRET, secret)
        assert os.environ["GATEWAY_API_KEYS"] == (f"{known},{secret}" if known else secret)
        assert secret not in done.output
        seen.add(secret)
    assert len(seen) == len(execs) == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--bind", "nonsense"], 'GATEWAY_BIND: expected "address:port"'),
        (["--bind", "127.0.0.1:0"], "GATEWAY_BIND: the port must be from 1 to 65535"),
        (["--bind", "127.0.0.1:8001"], "GATEWAY_BIND: is the same address as ops_bind"),
        (["--workers", "0"], "--workers"),
        (["--workers", "many"], "--workers"),
    ],
)
def test_wrong_option_is_a_sentence_and_starts_nothing(execs, configured, arguments, said):
    done = run(*arguments)
    assert (done.exit_code, done.stdout, execs) == (2, "", [])
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["0", "abc", "257"])
def test_wrong_number_of_workers_in_the_environment_is_a_sentence(execs, configured, count):
    os.environ["WEB_CONCURRENCY"] = count
    done = run()
    said = "WEB_CONCURRENCY: must be a whole number from 1 to 256\n"
    assert (done.exit_code, done.stderr, execs) == (2, said, [])


def test_empty_number_of_workers_does_not_reach_gunicorn(execs, configured):
    os.environ["WEB_CONCURRENCY"] = ""
    run()
    assert "WEB_CONCURRENCY" not in os.environ and len(execs) == 1


def test_every_mistake_in_the_configuration_is_said_and_nothing_starts(execs, tmp_path):
    (tmp_path / "gateway.toml").write_text("[server]\nbindd = 'x'\nmax_body_mb = 'y'\n")
    done = run()
    assert (done.exit_code, execs) == (2, [])
    assert "bindd" in done.stderr and "max_body_mb" in done.stderr


def test_port_that_is_taken_is_a_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit):
            check_free(Server(bind=bind, ops_bind=""))

    said = f"The gateway cannot listen on {bind}: Address already in use.\n"
    assert capsys.readouterr().err == said


def test_port_that_a_dying_gateway_still_holds_is_waited_for():
    taken = socket.create_server(("127.0.0.1", 0))
    bind = f"127.0.0.1:{taken.getsockname()[1]}"
    threading.Timer(0.3, taken.close).start()
    check_free(Server(bind=bind, ops_bind=""))
    assert taken.fileno() == -1


def test_unix_socket_that_is_taken_is_a_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        for server in (Server(f"unix:{path}", ""), Server("127.0.0.1:0", f"unix:{path}")):
            with pytest.raises(SystemExit) as caught:
                check_free(server)
            said = f"The gateway cannot listen on unix:{path}: Address already in use.\n"
            assert (capsys.readouterr().err, caught.value.code) == (said, 1)
    check_free(Server(f"unix:{path}", ""))  # nobody listens there any more
    assert path.is_socket()


def test_free_ports_unix_sockets_and_systemd_s_are_no_obstacle(monkeypatch):
    check_free(Server(bind="127.0.0.1:0", ops_bind="unix:/run/nothing.sock"))
    monkeypatch.setenv("LISTEN_FDS", "1")
    check_free(Server(bind="no such host:1", ops_bind=""))
