"""Workers and masters that are replaced, recycled or killed under load."""

import contextlib
import os
import signal
import sys
import time

import psutil
import pytest

from bench import processes
from tests.live.load import Load
from tests.live.raw import ask, chat, connected, post
from tests.live.test_operations import MORE, listed, wait_until
from tests.raw_client import read_until
from tests.serving import KEY, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

DRAIN = "drain = 60\n"
PATIENT = {"timeouts": "idle = 60\ntotal = 60\nfirst_token = 60\nstream_total = 60\n"}


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def gateway(tmp_path, upstream):
    config = write_config(tmp_path, upstream.url, server=DRAIN, **PATIENT)
    with Gateway(config, workers=2) as running:
        yield running


@contextlib.contextmanager
def streaming(gateway, model):
    """Give a socket on which a stream runs."""
    with connected(gateway.port) as sock:
        sock.settimeout(30)
        sock.sendall(post(chat(model, stream=True)))
        read_until(sock, b"data: ")
        yield sock


def hang_up(gateway):
    """Reload, and wait until new workers are there; return the seconds that took."""
    before, began = set(gateway.worker_pids()), time.monotonic()
    gateway.process.send_signal(signal.SIGHUP)
    booted = lambda: len(set(gateway.worker_pids()) - before) == 2  # noqa: E731
    wait_until(booted, 30)
    return time.monotonic() - began


def test_three_hangups_under_load_fail_no_call(gateway):
    with Load(gateway.port) as load, streaming(gateway, "mock-slow-1000") as sock:
        for _ in range(3):
            hang_up(gateway)
            load.more(100, 60)
        assert b"data: [DONE]" in read_until(sock, b"0\r\n\r\n")
    assert set(load.outcomes) == {200}, load.outcomes
    print(f"\n3 hangups: {load.outcomes}, slowest {load.longest:.2f} s")
    wait_until(lambda: len(gateway.worker_pids()) == 2, 10)
    assert alarms(gateway) == []


def alarms(gateway):
    """Return what an operator would be called for."""
    return [line["message"] for line in gateway.log() if line["level"] in ("error", "critical")]


def test_long_stream_of_an_old_worker_holds_up_nothing(tmp_path, upstream):
    """The next reload, a dead worker and the end all come while it goes on."""
    config = write_config(tmp_path, upstream.url, server=DRAIN, **PATIENT)
    with Gateway(config, workers=2) as own, streaming(own, "mock-slow-9000") as sock:
        hang_up(own)
        own.config.write_text(own.config.read_text() + MORE.format("mock"))
        hang_up(own)
        wait_until(lambda: all("added" in listed(own) for _ in range(5)), 20)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert b"server_draining" not in sock.recv(65536)
        own.process.send_signal(signal.SIGINT)
        assert own.process.wait(10) == 0
        sock.settimeout(5)
        assert b"server_draining" in read_until(sock, b"0\r\n\r\n")


def test_reload_moves_an_upstream_and_bounds_bodies(tmp_path, upstream):
    with ScriptedUpstream() as other:
        with Gateway(write_config(tmp_path, upstream.url, **PATIENT), workers=2) as own:
            text = own.config.read_text().replace(upstream.url, other.url)
            own.config.write_text(text.replace("[server]", "[server]\nmax_body_mb = 1"))
            hang_up(own)
            large = post(chat(user="x" * 1_100_000))
            wait_until(lambda: {ask(own.port, large).status for _ in range(10)} == {413}, 20)
            asked = len(upstream.requests)
            assert ask(own.port, post(chat())).status == 200
            assert len(other.requests) > 0 and len(upstream.requests) == asked


def test_killed_worker_takes_down_only_its_own_calls(gateway):
    with Load(gateway.port) as load:
        load.more(50)
        first, second = gateway.worker_pids()
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: len(set(gateway.worker_pids()) - {first, second}) == 1)
        replaced = time.monotonic() - killed
        load.more(100, 60)
    failed = {came: count for came, count in load.outcomes.items() if came != 200}
    assert sum(failed.values()) <= 4  # at most what each caller had just sent to the dead one
    print(f"\nkilled worker: {load.outcomes}, replaced after {replaced:.2f} s")
    wait_until(lambda: gateway.metrics()["gateway_in_flight"] == 0)
    assert alarms(gateway) == [f"Worker (pid:{first}) was sent SIGKILL! Perhaps out of memory?"]


def test_killed_master_leaves_nothing_in_the_way_of_the_next(gateway):
    """Its workers let their calls end, and a new master starts beside them."""
    workers = [psutil.Process(pid) for pid in gateway.worker_pids()]
    with streaming(gateway, "mock-slow-300") as sock:
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait()
        killed = time.monotonic()
        free = lambda: not any(psutil.pid_exists(p.pid) and listens(p) for p in workers)  # noqa: E731
        wait_until(free, 5)
        freed = time.monotonic() - killed
        gateway.log_file.close()
        gateway.start()
        assert b"data: [DONE]" in read_until(sock, b"0\r\n\r\n")
    assert freed < 3
    assert {ask(gateway.port, post(chat())).status for _ in range(5)} == {200}
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running()]
    print(f"\nkilled master: its listeners were closed after {freed:.2f} s")


def listens(process):
    with contextlib.suppress(psutil.Error):
        return any(c.status == "LISTEN" for c in process.net_connections())
    return False


def test_recycled_workers_fail_no_call(tmp_path, upstream):
    more = {"GUNICORN_CMD_ARGS": "--max-requests 50 --max-requests-jitter 10"}
    config = write_config(tmp_path, upstream.url, **PATIENT)
    with Gateway(config, workers=2, environ=more) as own:
        seen = set()
        with Load(own.port) as load:
            wait_until(lambda: seen.update(own.worker_pids()) or len(seen) >= 5, 60)
        assert set(load.outcomes) == {200}, load.outcomes
        print(f"\nrecycled: {load.outcomes}, longest silence {load.gap:.2f} s")


SOCKET_LAUNCHER = """
import fcntl, os, socket, sys
listeners = []
for port in map(int, sys.argv[1:3]):
    sock = socket.create_server(("127.0.0.1", port), backlog=2048)
    listeners.append(fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, 50))
while True:  # what systemd does: the listeners stay, and the gateway comes and goes
    pid = os.fork()
    if pid == 0:
        for number, sock in enumerate(listeners):
            os.dup2(sock, 3 + number)
        os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "2"
        os.execv(sys.executable, [sys.executable, "-m", "gateway.cli", "serve"])
    os.waitpid(pid, 0)
"""


class Launched(Gateway):
    """A gateway whose process is not gunicorn's master, but what launches it."""

    def masters(self):
        return processes.children(self.process.pid)

    def worker_pids(self):
        return [pid for master in self.masters() for pid in processes.workers(master)]


def test_restart_behind_listeners_that_stay_refuses_nobody(tmp_path, upstream):
    config = write_config(tmp_path, upstream.url, **PATIENT)
    launcher = tmp_path / "launcher.py"
    launcher.write_text(SOCKET_LAUNCHER)
    text = config.read_text()
    ports = [text.split(f'{name} = "127.0.0.1:')[1].split('"')[0] for name in ("bind", "ops_bind")]
    command = [sys.executable, str(launcher), *ports]
    with Launched(config, command=command) as own:
        try:
            with Load(own.port) as load:
                load.more(50)
                (master,) = own.masters()
                os.kill(master, signal.SIGTERM)
                wait_until(lambda: own.masters() not in ([], [master]), 20)
                load.more(50, 60)
            assert set(load.outcomes) == {200}, load.outcomes
            print(f"\nlisteners that stay: {load.outcomes}, longest silence {load.gap:.2f} s")
            assert own.metrics()  # by the ops listener, and not by the other
            metrics = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            told = ask(own.port, f"{metrics}Connection: close\r\n\r\n".encode())
            assert told.status == 404
        finally:
            masters = own.masters()
            own.process.kill()
            for pid in masters:
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not any(map(psutil.pid_exists, masters)), 15)
