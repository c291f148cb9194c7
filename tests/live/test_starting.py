"""The ways to start it: by the command, by gunicorn alone, from an empty folder, with mistakes."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.live.front import shared_upstream  # noqa: F401
from tests.live.raw import AUTH, ask, chat, post, request
from tests.serving import KEY, ROOT, free_port, write_config

pytestmark = pytest.mark.live

MODELS = request("GET /v1/models HTTP/1.1")
SERVE = [sys.executable, "-m", "gateway.cli", "serve"]


def environment(**more):
    """Return this process's environment with the checkout on the path and no other settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def run(folder, *arguments):
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=30
    )


@contextlib.contextmanager
def started(command, folder, environ, port):
    """Run a gateway by hand until the block ends; yield its process once it answers."""
    environ = environment(GATEWAY_API_KEYS=KEY, WEB_CONCURRENCY="1", **environ)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def answers(port):
    with contextlib.suppress(OSError, IndexError):
        return ask(port, request("GET /healthz HTTP/1.1")).status == 200


def test_url_of_an_upstream_alone_is_a_configuration(tmp_path, upstream):
    port, ops = free_port(), free_port()
    environ = {
        "GATEWAY_UPSTREAM_URL": upstream.url,
        "GATEWAY_BIND": f"127.0.0.1:{port}",
        "GATEWAY_OPS_BIND": f"127.0.0.1:{ops}",
    }
    with started(SERVE, tmp_path, environ, port):
        assert {m["id"] for m in ask(port, MODELS).json["data"]} == {"echo", "echo-embed"}
        assert ask(port, post(chat("echo"))).json["model"] == "echo"
        assert ask(port, post(chat("nope"))).code == "model_not_found"
        assert ask(ops, request("GET /metrics HTTP/1.1", auth="")).status == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "var"]
    assert (tmp_path / "var" / "gateway.db").stat().st_mode & 0o777 == 0o600


def test_gunicorn_alone_in_the_checkout_with_one_bind_has_no_ops(tmp_path, upstream):
    port = free_port()
    config = write_config(tmp_path, upstream.url)
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--chdir", str(ROOT)]
    command += ["-c", str(ROOT / "gunicorn.conf.py")]
    with started(command, tmp_path, {"GATEWAY_CONFIG": str(config)}, port):
        assert ask(port, request("GET /metrics HTTP/1.1", auth="")).code == "unknown_url"
        assert ask(port, request("GET /metrics HTTP/1.1", auth=AUTH)).code == "unknown_url"
        assert ask(port, post(chat())).status == 200


def test_serve_with_a_mistake_in_its_configuration_says_so_and_ends(tmp_path):
    (tmp_path / "gateway.toml").write_text("[server]\nbnid = 5\n")
    done = run(tmp_path, "serve")

    assert done.returncode == 2
    assert 'gateway.toml:2: server.bnid: unknown key, did you mean "bind"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_every_mistake_and_its_exit_code_says_whether_there_are_any(tmp_path):
    write_config(tmp_path, "http://127.0.0.1:9/v1")
    good = run(tmp_path, "check")
    assert (good.returncode, good.stderr) == (0, "") and "is valid" in good.stdout

    (tmp_path / "bad.toml").write_text('[server]\nbnid = "x"\n[[model]]\nid = 5\n')
    bad = run(tmp_path, "check", "bad.toml")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert 'bad.toml:2: server.bnid: unknown key, did you mean "bind"?' in bad.stderr
    assert "bad.toml:4: model[0].id: " in bad.stderr
    assert run(tmp_path, "check", "none.toml").returncode == 1
