"""Portkey's gateway on Node, told by headers where the upstream is."""

import shutil

from bench.systems.base import PEERS, System


class Portkey(System):
    name = "portkey"
    health = "/"

    def __init__(self, folder, upstream_port=None):
        super().__init__(folder, upstream_port)
        self.headers["x-portkey-provider"] = "openai"
        self.headers["x-portkey-custom-host"] = f"http://127.0.0.1:{upstream_port}/v1"

    def version(self):
        installed = PEERS / "portkey" / "installed"
        if not installed.exists() or not shutil.which("node"):
            return None
        return installed.read_text().strip()

    def command(self):
        server = PEERS.joinpath("portkey/node_modules/@portkey-ai/gateway/build/start-server.js")
        return ["node", str(server), f"--port={self.port}", "--headless"]

    def environ(self):
        return {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
