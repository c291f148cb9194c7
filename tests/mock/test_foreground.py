"""`gateway mock` in the foreground, and the dead ends that no server can act."""

import re
import signal
import subprocess
import sys

import pytest
import requests

from gateway import mock
from gateway.mock import FIN, HANG, RST
from tests.raw_client import CHAT
from tests.upstream import black_hole, refused_url

# A child of a background job is born deaf to SIGINT, and a test may be one.
CODE = """
import signal
from gateway.mock import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(0)
"""


def test_refused_url_refuses():
    with refused_url() as url, pytest.raises(requests.ConnectionError):
        requests.get(url)


def test_black_hole_lets_nobody_connect():
    with black_hole() as url, pytest.raises(requests.ConnectTimeout):
        requests.get(url, timeout=0.3)


def test_in_the_foreground_it_lists_its_faults_and_ends_on_ctrl_c():
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stdout.readline() for _ in range(len(mock.FAULTS) + 5)]
        url = re.search(r"http://\S+", lines[0])[0]
        listed = requests.get(f"{url}/models").json()["data"]
        reply = requests.post(f"{url}/chat/completions", json={**CHAT, "model": "mock-429"})
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert any(line.startswith("mock-cut-after-N ") for line in lines)
    assert "mock-cut-after-3" in [model["id"] for model in listed]
    assert reply.status_code == 429
    assert "POST /v1/chat/completions mock-429" in rest


def test_a_taken_port_is_told_in_a_sentence(upstream):
    with pytest.raises(SystemExit, match="cannot listen on 127.0.0.1, port"):
        mock.main(upstream.port)


def test_steps_have_names():
    assert (repr(FIN), repr(RST), HANG) == ("FIN", "RST", float("inf"))
