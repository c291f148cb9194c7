"""This gateway with everything on: keys with limits of each kind in its database, prices, usage,
metrics, logs in a file, jobs."""

import json
import subprocess
import sys

from bench.systems.base import ROOT, NotStarted, System, free_port

CONFIG = """
[server]
bind = "127.0.0.1:{port}"
ops_bind = "127.0.0.1:{ops_port}"
database_url = "sqlite:///gateway.db"

[[upstream]]
name = "bench"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "sk-upstream"
"""

MODEL = """
[[model]]
id = "{id}"
price = {{ input = 0.15, output = 0.6 }}
upstreams = [{{ name = "bench" }}]
"""

# Of each kind, and so high that none is ever reached.
LIMITS = {
    "rpm": 10**8, "tpm": 10**9, "concurrency": 100_000, "budget": 10**15, "period": "month",
}  # fmt: skip
OPTIONS = (
    "--rpm", "100000000", "--tpm", "1000000000", "--concurrency", "100000",
    "--budget", "1000000/month",
)  # fmt: skip

# The command makes one key; thousands of them would take minutes of starting Python.
MORE_KEYS = """
import json
import sys
from gateway.cli import open_database
from gateway.keys import KeyStore

with open_database() as database:
    store = KeyStore(database)
    for number in range(int(sys.argv[1])):
        print(store.create(f"bench {number}", **json.loads(sys.argv[2]))[1])
"""


class Gateway(System):
    name = "gateway"

    def __init__(self, folder, upstream_port=None, models=1, keys=1, name="gateway"):
        self.name = name
        super().__init__(folder, upstream_port)
        self.models, self.number_of_keys, self.keys = models, keys, []

    def version(self):
        line = next(x for x in (ROOT / "setup.cfg").open() if x.startswith("version"))
        return line.partition("=")[2].strip()

    def prepare(self):
        text = CONFIG.format(port=self.port, ops_port=free_port(), upstream=self.upstream_port)
        others = [f"model-{number}" for number in range(1, self.models)]
        text += "".join(MODEL.format(id=id) for id in ("bench", *others))
        (self.folder / "gateway.toml").write_text(text)
        self.keys = self.printed("-m", "gateway.cli", "keys", "create", "bench", *OPTIONS)
        if more := self.number_of_keys - 1:
            self.keys += self.printed("-c", MORE_KEYS, str(more), json.dumps(LIMITS))
        self.headers = {"Authorization": f"Bearer {self.keys[0]}"}

    def printed(self, *arguments):
        """Return the lines that a command of the gateway prints."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.whole_environ(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotStarted(f"{arguments[:3]} failed:\n{done.stderr}")
        return done.stdout.split()

    def command(self):
        return [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]

    def environ(self):
        return {
            "GATEWAY_CONFIG": str(self.folder / "gateway.toml"),
            "WEB_CONCURRENCY": "1",
            "PYTHONPATH": str(ROOT),
        }

    def with_key(self, request, key):
        """Return a request with another of its keys."""
        return request.replace(self.keys[0].encode(), key.encode(), 1)
