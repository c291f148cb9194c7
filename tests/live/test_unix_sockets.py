"""A gateway at a Unix socket: its file may go, and nobody else's start takes it over."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.live.raw import Reply, chat, post
from tests.live.test_operations import wait_until
from tests.raw_client import read_all, read_until
from tests.serving import Gateway, free_port, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

GUNICORN = [sys.executable, "-m", "gunicorn"]
SERVE = [sys.executable, "-m", "gateway.cli", "serve"]


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "api.sock"


@pytest.fixture
def config(tmp_path, upstream):
    return write_config(tmp_path, upstream.url, server="drain = 20\n")


@pytest.fixture
def own(config, path):
    with Gateway(config, environ={"GATEWAY_BIND": f"unix:{path}"}) as running:
        yield running


@contextlib.contextmanager
def connected(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        yield sock


def status(path):
    with connected(path) as sock:
        sock.sendall(post(chat()))
        return Reply(read_all(sock)[0]).status


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_end_drains_although_the_file_is_gone(own, path, sign):
    with connected(path) as sock:
        sock.sendall(post(chat("mock-slow-20", stream=True)))
        assert b"[DONE]" not in read_until(sock, b"data: ")
        path.unlink()
        own.process.send_signal(sign)
        said, end = read_all(sock, 20)
    if sign == signal.SIGTERM:
        assert (b"data: [DONE]" in said, end) == (True, "FIN")
    assert own.process.wait(10) == 0
    assert "Traceback" not in own.log_path.read_text()


@pytest.mark.parametrize("command", [GUNICORN, SERVE])
def test_second_start_at_the_same_socket_is_refused_and_takes_nothing(own, path, command):
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(own.config),
        "GATEWAY_BIND": f"unix:{path}",
        "GATEWAY_OPS_BIND": f"127.0.0.1:{free_port()}",
        "WEB_CONCURRENCY": "1",
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    said = f"The gateway cannot listen on unix:{path}: Address already in use."
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr
    assert status(path) == 200
    own.process.terminate()
    assert own.process.wait(10) == 0
    assert not path.exists()


def test_start_after_a_killed_gateway_replaces_its_file(own, path):
    workers = own.worker_pids()
    own.process.kill()
    own.process.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    assert path.is_socket()
    own.log_file.close()
    own.start()
    assert status(path) == 200
