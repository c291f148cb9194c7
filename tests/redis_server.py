"""A redis-server of a test's own, which may be stopped, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest


class RedisServer:
    """A server on a free port that keeps nothing on disk."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def start(self):
        """Start it, empty, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while self.say("PING") != b"+PONG\r\n":
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def say(self, *words):
        """Send one command over a connection of its own; return the raw answer, or b""."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as talk:
                talk.sendall(" ".join(words).encode() + b"\r\n")
                return talk.recv(65536)
        except OSError:
            return b""

    def client(self):
        """Return a client of the package redis; close it after use."""
        import redis

        return redis.Redis(port=self.port)

    def silence(self):
        """Let it answer nothing more, and close no connection."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def require():
    """Skip a test where there is no redis-server; in CI that is a failure."""
    if shutil.which("redis-server") is None:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell("There is no redis-server to test with.")


@pytest.fixture
def redis_server(tmp_path):
    """One server for one test."""
    require()
    server = RedisServer(tmp_path)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory):
    """One server for a module, whose tests use prefixes of their own and leave it running."""
    require()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.kill()
