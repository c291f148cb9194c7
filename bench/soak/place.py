"""The processes of a soak, in a folder of their own: upstream, gunicorn and job worker."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

from bench import processes
from bench.systems.base import ROOT, NotStarted, System, free_port

CONFIG = """
[server]
bind = "127.0.0.1:{port}"
ops_bind = "127.0.0.1:{ops_port}"
database_url = "sqlite:///gateway.db"
drain = 60

[timeouts]
connect = 3
first_token = 5
idle = 5
total = 6
stream_total = 90
keepalive = 2
body = 10
write = 3

[jobs]
per_key = 5000

[[upstream]]
name = "native"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "sk-upstream"
endpoints = ["chat", "responses", "embeddings"]

[[upstream]]
name = "chat"
base_url = "http://127.0.0.1:{upstream}/v1"

[[model]]
id = "fast"
upstreams = [{{ name = "native", model = "echo" }}]
price = {{ input = 1, output = 4 }}

[[model]]
id = "translated"
upstreams = [{{ name = "chat", model = "echo" }}]

[[model]]
id = "spare"
upstreams = [
    {{ name = "native", model = "mock-502" }},
    {{ name = "chat", model = "echo", priority = 1 }},
]

[[model]]
id = "mock-*"
upstreams = [{{ name = "native", model = "mock-*" }}]

[[model]]
id = "translated-*"
upstreams = [{{ name = "chat", model = "mock-*" }}]
"""
LEASE, BUILT = 3, 30  # seconds of the leases of jobs and names: in a short run, and as built
BUDGET = 4_000_000  # nano-USD in all
LIMITS = {  # name of a key to its bounds; an open one has none
    "open": {},
    "requests": {"rpm": 45},
    "tokens": {"tpm": 400},
    "slots": {"concurrency": 3},
    "budget": {"budget": BUDGET, "period": "total"},
}
KEYS = """
import json, sys
from gateway.cli import open_database
from gateway.keys import KeyStore

with open_database() as database:
    store = KeyStore(database)
    for name, bounds in json.loads(sys.argv[1]).items():
        key, secret = store.create(name, **bounds)
        print(key.id, secret)
"""
# A short run cannot wait for the leases of processes that were killed.
SHORT = """
from gevent import monkey
monkey.patch_all()
import sys
from gateway import idempotency
from gateway.jobs import store, sweep
store.LEASE, store.RENEW = {lease}, {lease} / 3
idempotency.LEASE, idempotency.BEAT = {lease}, {lease} / 3
sweep.EVERY = {lease} / 8, {lease} / 4
if sys.argv[1] == "worker":
    from gateway.cli import main
    main(sys.argv[1:])
else:
    from gunicorn.app.wsgiapp import run
    run()
"""


class Upstream(System):
    name, health = "upstream", "/v1/models"

    def command(self):
        return [sys.executable, "-m", "bench.soak.upstream", str(self.port)]

    def environ(self):
        return {"PYTHONPATH": str(ROOT)}

    def book(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/book", timeout=60) as answer:
            return json.loads(answer.read())


class Ours(System):
    """A process of the gateway; `lease` is that of jobs and names in seconds, None as built."""

    def __init__(self, folder, upstream_port, lease=None):
        super().__init__(folder, upstream_port)
        self.folder, self.lease = pathlib.Path(folder), lease

    @property
    def log(self):
        return self.folder / f"{self.name}.log"

    def environ(self):
        return {
            "GATEWAY_CONFIG": str(self.folder / "gateway.toml"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / "metrics"),
            "PYTHONPATH": str(self.code),
            # Large blocks go back to the system when they are free, so that memory shows what is
            # held; else it would show the most large bodies that there ever were at once.
            "MALLOC_MMAP_THRESHOLD_": "131072",
        }

    @property
    def code(self):
        return self.folder / "code"

    def launched(self, module, *arguments):
        if self.lease is None:
            return [sys.executable, "-m", module, *arguments]
        return [sys.executable, "-c", SHORT.format(lease=float(self.lease)), *arguments]


class Web(Ours):
    """gunicorn with two workers; `keys` is {name: (public id, secret)}."""

    name = "gateway"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.ops_port, self.keys = free_port(), {}

    def start(self):
        self.copy()
        ports = {"port": self.port, "ops_port": self.ops_port, "upstream": self.upstream_port}
        (self.folder / "gateway.toml").write_text(CONFIG.format(**ports))
        lines = self.said("-c", KEYS, json.dumps(LIMITS)).splitlines()
        self.keys = dict(zip(LIMITS, (line.split() for line in lines), strict=True))
        return super().start()

    def copy(self):
        """Take the code along: workers begin all the time, and somebody may be editing it."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "gateway", self.code / "gateway", ignore=ignored)
        for name in ("gunicorn.conf.py", "wsgi.py"):
            shutil.copy(ROOT / name, self.code)

    @property
    def ended(self):
        return self.process is None or self.process.poll() is not None

    def command(self):
        return self.launched("gunicorn", "--config", str(self.code / "gunicorn.conf.py"))

    def environ(self):
        return {**super().environ(), "WEB_CONCURRENCY": "2"}

    def said(self, *arguments):
        """Return what a command of the gateway prints. Raises NotStarted if it fails."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.whole_environ(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotStarted(f"{arguments[:3]} failed:\n{done.stderr}")
        return done.stdout

    def workers(self):
        """Return the process ids of the web workers, the newest last."""
        return processes.workers(self.pid)

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)


class JobWorker(Ours):
    name = "worker"

    def command(self):
        return self.launched("gateway.cli", "worker")

    def answers(self):
        return self.process.poll() is None  # it has no listener

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None


def end(systems):
    """End what runs, the last one first; return the seconds that it took."""
    began = time.monotonic()
    for system in reversed(systems):
        system.stop()
    return time.monotonic() - began
