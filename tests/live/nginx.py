"""The nginx site of deploy/ on ports of its own, in front of gateways of a test's own."""

import re
import shutil
import socket
import subprocess
import time
from contextlib import suppress

from tests.live.tls import Authority
from tests.serving import ROOT, free_port

SITE = ROOT / "deploy/nginx/gateway.conf"
MAIN = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {site}
}}
"""


class Nginx:
    """`with Nginx(folder, gateway_port, standby_port):` serves TLS until the block ends."""

    def __init__(self, folder, gateway_port, standby_port=None, **replaced):
        self.folder, self.port, self.plain_port = folder, free_port(), free_port()
        self.authority = Authority(folder)
        certificate = self.authority.signed("site")
        text = SITE.read_text()
        for old, new in {
            "/etc/ssl/gateway/fullchain.pem": str(certificate),
            "/etc/ssl/gateway/privkey.pem": str(certificate),
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "127.0.0.1:8000": f"127.0.0.1:{gateway_port}",
            "127.0.0.1:8010": f"127.0.0.1:{standby_port or free_port()}",
            "rate=100r/s": "rate=10000r/s",
            **replaced,
        }.items():
            assert old in text, f"the site no longer says {old}"
            text = text.replace(old, new)
        text = re.sub(r"^ *listen \[::\].*$", "", text, flags=re.M)
        (folder / "nginx.conf").write_text(MAIN.format(site=text))

    def __enter__(self):
        command = ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        tried = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tried.returncode == 0, tried.stderr
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        raise AssertionError("nginx did not start")

    def __exit__(self, *exc):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def url(self):
        return f"https://localhost:{self.port}/v1"


def installed():
    return shutil.which("nginx") is not None
