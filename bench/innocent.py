"""`python -m bench.innocent`: what another client's stream feels of bodies made to do harm.

A stream has an event every 20 ms. Beside it each body of `bench.poison` is sent a few times; told
is the longest wait between two events, as rows of docs/security.md. The first row is what the
machine does by itself: the same beside a small body.
"""

import contextlib
import json
import signal
import socket
import sys
import tempfile
import threading
import time

import click

from bench.poison import POISON
from bench.systems.base import System, free_port
from bench.systems.gateway import Gateway

SMALL = (b"{}", 400)
STREAM = json.dumps(
    {"model": "mock-endless-20", "messages": [{"role": "user", "content": "x"}], "stream": True}
).encode()
LEAST = 0.5  # seconds that the stream is watched for
MODELS = """
[[model]]
id = "gpt-test"
upstreams = [{ name = "bench", model = "echo" }]

[[model]]
id = "mock-*"
upstreams = [{ name = "bench", model = "mock-*" }]
"""


class Mock(System):
    """The scripted upstream, in a process of its own so that it keeps its pace."""

    name, health = "mock", "/v1/models"

    def command(self):
        return [sys.executable, "-m", "gateway.cli", "mock", "--port", str(self.port)]

    def environ(self):
        return {"PYTHONPATH": Gateway(self.folder).environ()["PYTHONPATH"]}


class Guarded(Gateway):
    """The gateway with one worker and the models that the bodies name."""

    def prepare(self):
        super().prepare()
        with (self.folder / "gateway.toml").open("a") as file:
            file.write(MODELS)


class Innocent:
    """Reads the stream in a thread of its own and notes when something came."""

    def __init__(self, system):
        self.moments, self.stop = [], threading.Event()
        self.sock = socket.create_connection(("127.0.0.1", system.port), timeout=10)
        self.sock.sendall(system.request(STREAM))
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        while not self.stop.is_set() and self.sock.recv(1 << 16):
            self.moments.append(time.monotonic())

    def wait(self, events, seconds=10):
        """Wait until so many events have come. Raises SystemExit."""
        deadline = time.monotonic() + seconds
        while len(self.moments) < events:
            if time.monotonic() > deadline:
                sys.exit("the stream has stopped")
            time.sleep(0.01)

    def gap(self, since):
        """Return the longest wait between two events that a moment lies before."""
        seen = [moment for moment in self.moments if moment > since - 0.1]
        return max(after - before for before, after in zip(seen, seen[1:], strict=False))

    def close(self):
        self.stop.set()
        self.thread.join()
        self.sock.close()


def beside(system, body, status):
    """Return the stream's longest wait while a body was sent and answered. Raises SystemExit."""
    stream = Innocent(system)
    with contextlib.closing(stream):
        stream.wait(6)
        began = time.monotonic()
        send(system, body, status)
        time.sleep(max(LEAST - (time.monotonic() - began), 0))
        stream.wait(len(stream.moments) + 2)  # the event that it may have held up
        return stream.gap(began)


def send(system, body, status):
    with socket.create_connection(("127.0.0.1", system.port), timeout=60) as sock:
        sock.sendall(system.request(body))
        found = sock.recv(1 << 16).split(b" ", 2)
    if found[1:2] != [b"%d" % status]:
        sys.exit(f"{b' '.join(found)[:300]!r} in place of {status}")


@contextlib.contextmanager
def running():
    """Give a gateway in front of the scripted upstream; end both."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        mock = Mock(folder)
        mock.port = free_port()
        stack.callback(mock.stop)
        mock.start()
        system = Guarded(folder, mock.port)
        stack.callback(system.stop)
        yield system.start()


@click.command()
@click.option("--times", type=click.IntRange(1, 20), default=3, show_default=True)
def main(times):
    """Print the longest wait of an innocent stream beside each poisonous body."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("| body | MB | longest wait, ms |\n|---|---:|---:|")
    with running() as system:
        for name, (body, status) in {"`{}`": SMALL, **POISON}.items():
            longest = max(beside(system, body, status) for _ in range(times))
            print(f"| {name} | {len(body) / 1e6:.1f} | {longest * 1000:.0f} |", flush=True)


if __name__ == "__main__":
    main(prog_name="python -m bench.innocent")
