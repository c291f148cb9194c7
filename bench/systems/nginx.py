"""nginx as a plain reverse proxy: one worker, nothing buffered, nothing logged."""

import os
import re
import shutil
import subprocess

from bench.systems.base import System

CONFIG = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid nginx.pid;
error_log stderr;
{user}

events {{
    worker_connections 8192;
}}

http {{
    access_log off;
    client_max_body_size 32m;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    upstream bench {{
        server 127.0.0.1:{upstream};
        keepalive 2048;
        keepalive_requests 100000000;
    }}

    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 100000000;

        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""


class Nginx(System):
    name = "nginx"
    health = "/v1/models"
    settle = 0.05

    def version(self):
        if not shutil.which("nginx"):
            return None
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
        return re.search(r"nginx/(\S+)", told.stderr)[1]

    def prepare(self):
        # As root its worker would become a user who cannot enter the folder.
        user = "user root;" if os.getuid() == 0 else ""
        text = CONFIG.format(user=user, upstream=self.upstream_port, port=self.port, files=20000)
        (self.folder / "nginx.conf").write_text(text)

    def command(self):
        return ["nginx", "-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr"]
