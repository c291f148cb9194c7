"""`gateway doctor` on a machine that has it all: nginx, PostgreSQL, Redis, a running gateway."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from gateway import database
from tests.live import nginx
from tests.redis_server import redis_server  # noqa: F401
from tests.serving import ROOT, Gateway, write_config
from tests.test_postgres import SERVER, server, url  # noqa: F401

pytestmark = pytest.mark.live


def examined(path, **environ):
    """Return the exit status of `gateway doctor` and its findings, by name."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(path),
        "PYTHONPATH": str(ROOT),
        **environ,
    }
    command = [sys.executable, "-m", "gateway.cli", "doctor", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=60)
    assert done.stderr == b""
    found = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["name"], []).append((one["level"], one["message"]))
    return done.returncode, found


def trouble(found, name):
    return [message for level, message in found.get(name, ()) if level != "ok"]


def test_gateway_that_runs_on_sqlite_is_well(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url)
    path.chmod(0o600)
    tmp_path.chmod(0o700)
    with Gateway(path):
        status, found = examined(path)
    assert status == 0
    for name in ("configuration", "state", "clock", "libraries", "database", "upstream mock"):
        assert found[name] and trouble(found, name) == []
    assert found["redis"] == [("ok", "Not used: this machine counts limits for itself.")]
    assert len(upstream.requests) == 0


@pytest.fixture
def sites(tmp_path):
    """Return a function that has `nginx -T` tell of our site, changed, before a gateway."""
    if not nginx.installed():
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell("There is no nginx to look at.")
    folder, programs = tmp_path / "nginx", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    real = shutil.which("nginx")

    def write(port, **replaced):
        nginx.Nginx(folder, port, **replaced)
        program = programs / "nginx"
        program.write_text(f'#!/bin/sh\nexec {real} -p {folder} -c {folder}/nginx.conf "$@"\n')
        program.chmod(0o755)
        return f"{programs}:{os.environ['PATH']}"

    return write


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({}, None),
        ({"proxy_buffering        off": "proxy_buffering on"}, "proxy_buffering is on"),
        ({"proxy_read_timeout     3700s": "proxy_read_timeout 2s"}, "proxy_read_timeout is 2 s"),
        ({"client_max_body_size        20m;": ""}, "client_max_body_size is 1m"),
    ],
)
def test_site_of_a_real_nginx_is_read(tmp_path, upstream, sites, replaced, words):
    path = write_config(tmp_path, upstream.url)
    port = int(path.read_text().split('bind = "127.0.0.1:')[1].split('"')[0])
    _, found = examined(path, PATH=sites(port, **replaced))
    told = trouble(found, "nginx gateway.example.com /")
    assert len(found["nginx gateway.example.com /"]) == 4, found
    assert told == [] if words is None else len(told) == 1 and words in told[0]


def test_postgresql_and_redis_are_asked(tmp_path, upstream, url, redis_server):  # noqa: F811
    path = write_config(tmp_path, upstream.url)
    environ = {"GATEWAY_DATABASE_URL": url, "GATEWAY_REDIS_URL": redis_server.url}
    status, found = examined(path, **environ)
    assert status == 1 and "not 00" in trouble(found, "database")[0]

    database.upgrade(url)
    redis_server.say("CONFIG", "SET", "maxmemory", "100mb")
    status, found = examined(path, **environ)
    assert status == 0 and trouble(found, "database") == []
    assert "noeviction" in trouble(found, "redis")[0]

    redis_server.silence()
    status, found = examined(path, **environ)
    redis_server.wake()
    assert status == 1 and "200 ms" in trouble(found, "redis")[0]
