"""The scripted upstream, which is also asked directly: what the others add is measured from it."""

import sys

from bench.systems.base import ROOT, System, ask


class Upstream(System):
    name = "upstream"
    health = "/v1/models"
    settle = 0.05

    def version(self):
        return ""

    def command(self):
        return [sys.executable, "-m", "bench.upstream", str(self.port)]

    def environ(self):
        return {"PYTHONPATH": str(ROOT)}

    def script(self, chunks, delay):
        """Say how many tokens streams have from now on, and the seconds between two of them."""
        ask(self.port, f"/script?chunks={chunks}&delay={delay * 1000}")

    def break_off(self):
        """Close every stream that is open."""
        ask(self.port, "/stop")
