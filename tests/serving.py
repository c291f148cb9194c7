"""A real gateway for a test: gunicorn in a process of its own, on ports of its own."""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from bench import processes

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEY = "sk-" + "t" * 12 + "-" + "k" * 43

CONFIG = """
[server]
bind = "127.0.0.1:{port}"
ops_bind = "127.0.0.1:{ops_port}"
database_url = "sqlite:///gateway.db"
drain = 5
{server}

[timeouts]
connect = 1
first_token = 2
idle = 1
total = 3
stream_total = 6
keepalive = 15
body = 1
write = 2
{timeouts}

[[upstream]]
name = "mock"
base_url = "{url}"
api_key = "sk-upstream-secret"
endpoints = ["chat", "responses", "embeddings"]
{upstream}

[[model]]
id = "gpt-test"
upstreams = [{{ name = "mock", model = "upstream-model" }}]

[[model]]
id = "mock-*"
upstreams = [{{ name = "mock", model = "mock-*" }}]
{more}
"""


_given = set()


def free_port():
    """Return a port that is free, and none that the system gives to outgoing connections."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def write_config(folder, url, server="", timeouts="", upstream="", more=""):
    """Write a gateway.toml whose timers are short; a later key of the same name is an error."""
    given = {line.split("=")[0].strip() for line in (server + timeouts).splitlines()}
    text = CONFIG.format(
        port=free_port(), ops_port=free_port(), url=url,
        server=server, timeouts=timeouts, upstream=upstream, more=more,
    )  # fmt: skip
    seen, kept = set(), []
    for line in reversed(text.splitlines()):
        name = line.split("=")[0].strip()
        if name in given and name in seen:
            continue
        seen.add(name)
        kept.append(line)
    path = pathlib.Path(folder) / "gateway.toml"
    path.write_text("\n".join(reversed(kept)))
    return path


class Gateway:
    """`with Gateway(config_path) as gateway:` serves until the block ends."""

    pass_fds = ()  # what it is to inherit

    def __init__(self, config, workers=1, environ=(), command=None):
        self.config = pathlib.Path(config)
        self.folder = self.config.parent
        self.workers, self.environ = workers, dict(environ)
        self.command = command or [sys.executable, "-m", "gunicorn"]
        self.key = KEY
        self.process = None

    def __enter__(self):
        text = self.config.read_text()
        self.port = int(text.split('bind = "127.0.0.1:')[1].split('"')[0])
        self.ops_port = int(text.split('ops_bind = "127.0.0.1:')[1].split('"')[0])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.ops_url = f"http://127.0.0.1:{self.ops_port}"
        self.start()
        return self

    def start(self):
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
            "GATEWAY_CONFIG": str(self.config),
            "GATEWAY_API_KEYS": self.key,
            "WEB_CONCURRENCY": str(self.workers),
            "PYTHONPATH": str(ROOT),
            **self.environ,
        }
        self.log_path = self.folder / "gateway.log"
        self.log_file = self.log_path.open("ab")
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=environ, stdout=self.log_file, stderr=self.log_file,
            pass_fds=self.pass_fds,
        )  # fmt: skip
        self.wait_ready()
        self.wait_workers()

    def wait_workers(self, seconds=5):
        """Wait for those that are still to be forked when the first one answers."""
        deadline = time.monotonic() + seconds
        while len(self.worker_pids()) < self.workers and time.monotonic() < deadline:
            time.sleep(0.01)

    def wait_ready(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.ops_url}/healthz", timeout=2).close()
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError("the gateway did not start:\n" + self.log_path.read_text()[-4000:])

    def __exit__(self, *exc):
        self.stop()

    def stop(self, sign=signal.SIGINT):
        """End it and everything it has started."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log_file.close()

    def log(self):
        """Return the log's JSON lines so far, less one that is still being written."""
        lines = self.log_path.read_bytes().decode().rpartition("\n")[0].split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def lines(self, **wanted):
        """Return the request lines that have these values."""
        found = [line for line in self.log() if "request_id" in line]
        return [f for f in found if all(f.get(k) == v for k, v in wanted.items())]

    def wait_lines(self, count=1, seconds=3, **wanted):
        """Return `count` request lines or more, waiting for them."""
        deadline = time.monotonic() + seconds
        while len(found := self.lines(**wanted)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} lines {wanted}"
            time.sleep(0.02)
        return found

    def metrics(self):
        """Return the samples of /metrics by their whole name, labels included."""
        with urllib.request.urlopen(f"{self.ops_url}/metrics", timeout=5) as answer:
            rows = [line for line in answer.read().decode().splitlines() if line[:1] != "#"]
        return {row.rpartition(" ")[0]: float(row.rpartition(" ")[2]) for row in rows}

    def worker_pids(self):
        """Return the process ids of the workers that have come up, the newest last."""
        return processes.workers(self.process.pid)
