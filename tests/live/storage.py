"""Gateways whose state lies on a volume of their own, which a test may fill or make read-only.

The volume is mounted in a mount namespace that only the gateway's processes are in, so it goes
with them, whatever becomes of the test.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

from tests.serving import ROOT, Gateway, write_config

SHELL = 'mount -t tmpfs -o size="$SIZE" tmpfs "$VOLUME" && exec "$@" 2>>"$VOLUME/gateway.log"'
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
ROWS = """
import json, sqlite3, sys
rows = sqlite3.connect(sys.argv[1], timeout=10).execute(sys.argv[2]).fetchall()
print(json.dumps(rows))
"""


def able():
    """Fail in CI, and skip elsewhere, where no volume can be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"No volume can be mounted here: {done.stderr}")


class VolumeGateway(Gateway):
    """A gateway with its database, spool, limits, temporary files and log on a small volume."""

    def __init__(self, folder, upstream, size="48m", **config):
        able()
        self.volume = pathlib.Path(folder) / "volume"
        self.volume.mkdir()
        server = f'database_url = "sqlite:///{self.volume}/gateway.db"\n'
        path = write_config(folder, upstream.url, server=server, **config)
        shell = [*UNSHARE, "sh", "-c", SHELL, "sh", sys.executable, "-m", "gunicorn"]
        environ = {"VOLUME": str(self.volume), "SIZE": size, "TMPDIR": str(self.volume)}
        super().__init__(path, environ=environ, command=shell)

    @property
    def there(self):
        """Return the path of the volume as others see it; no name on it is to be resolved."""
        return pathlib.Path(f"/proc/{self.process.pid}/root{self.volume}")

    def inside(self, *command, **environ):
        """Run a command where the volume is mounted, and return what it prints."""
        space = ["nsenter", f"--target={self.process.pid}", "--mount"]
        space += [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        done = subprocess.run(
            [*space, *command], cwd=ROOT, check=True, capture_output=True, text=True,
            env={**os.environ, **environ, "GATEWAY_CONFIG": str(self.config)},
        )  # fmt: skip
        return done.stdout

    def cli(self, *arguments):
        return self.inside(sys.executable, "-m", "gateway.cli", *arguments).strip()

    def query(self, sql):
        """Return the rows of a statement on the database."""
        path = f"{self.volume}/gateway.db"
        return json.loads(self.inside(sys.executable, "-c", ROWS, path, sql))

    def ids_there(self):
        """Return the ids of the requests in the log on the volume, of which some lines are cut."""
        log = (self.there / "gateway.log").read_text()
        return set(re.findall('"request_id":"(req_[0-9a-f]{32})".*"end":"ok"}\n', log))

    @contextlib.contextmanager
    def full(self):
        """Leave no byte on the volume for as long as the block lasts."""
        self.query("pragma wal_checkpoint(truncate)")  # else writes go where its log was before
        ballast = self.there / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            ballast.unlink()
