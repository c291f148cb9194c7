import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from gateway.cli import main
from gateway.mock import ScriptedUpstream

ROOT = Path(__file__).parents[2]

# A child of a background job is born deaf to SIGINT, and a test may be one.
CODE = """
import signal
from gateway.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(["mock", "--port", "0"], prog_name="gateway")
"""


def run(*arguments):
    return CliRunner().invoke(main, ["mock", *arguments], prog_name="gateway")


def test_port_0_is_any_free_port_and_ctrl_c_ends_it():
    with subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        url = re.search(rb"http://\S+", process.stdout.readline())[0].decode()
        body = {"model": "mock-503", "messages": [{"role": "user", "content": "x"}]}
        answer = requests.post(f"{url}/chat/completions", json=body, timeout=5)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=10)
    assert answer.status_code == 503
    assert process.returncode == 0
    assert b"POST /v1/chat/completions mock-503" in said[0] and said[1] == b""


def test_taken_port_is_a_sentence():
    with ScriptedUpstream() as other:
        done = run("--port", str(other.port))
    assert done.exit_code == 1
    assert f"gateway mock cannot listen on 127.0.0.1, port {other.port}: " in done.output


@pytest.mark.parametrize("host", ["h\udcff", "a..b", "\xe9" * 70])
def test_name_that_no_host_has_is_a_usage_error(host):
    done = run("--port", "0", "--host", host)
    assert done.exit_code == 2 and "is no name of a host." in done.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_wrong_port_is_a_usage_error(port):
    done = run("--port", port)
    assert done.exit_code == 2 and "--port" in done.stderr
