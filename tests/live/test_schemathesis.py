"""What schemathesis makes of the description, sent to a real gateway: it does as it says."""

import json
import os
import pathlib
import subprocess
import sys
import urllib.request
from collections import Counter

import pytest

from tests.live.faults import assert_no_traceback
from tests.serving import KEY

pytestmark = pytest.mark.live

CONFIG = """
base-url = "http://127.0.0.1:{port}"
hooks = "{hooks}"
seed = 8
continue-on-failure = true
request-timeout = 20

[auth.openapi.key]
bearer = "{key}"

[generation]
max-examples = 8
no-shrink = true
database = "none"

[phases]
stateful.enabled = false
"""
# No process of the project's own writes here: what is measured is the gateway.
RUN = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
ASKED = {"chat", "responses", "embeddings", "models", "jobs"}


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(more="[jobs]\nper_key = 100000")


def test_every_answer_is_as_described_and_none_is_a_fault(site, tmp_path):
    there = {
        **os.environ,
        "DESCRIBED_RESPONSE": made(site, {"background": True}),
        "DESCRIBED_JOB": made(site, {}, Prefer="respond-async"),
    }
    hooks = pathlib.Path(__file__).with_name("described.py")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(port=site.gateway.port, hooks=hooks, key=KEY))
    command = [sys.executable, "-c", RUN, "--config-file", config, "run"]
    command.append(f"http://127.0.0.1:{site.gateway.port}/openapi.json")

    done = subprocess.run(
        command, cwd=tmp_path, env=there, capture_output=True, text=True, timeout=280, check=False
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert "Selected: 14/14" in done.stdout
    lines = site.gateway.lines()
    assert [line for line in lines if line["status"] >= 500] == []
    fine, refused = (counted(lines, *statuses) for statuses in ((200, 299), (400, 499)))
    assert ASKED <= set(fine) and ASKED <= set(refused)
    for endpoint in ("chat", "responses", "embeddings"):
        assert fine[endpoint] > 20 and refused[endpoint] > 20, (fine, refused)
    assert_no_traceback(site.gateway.log_path.read_bytes())


def counted(lines, low, high):
    return Counter(line["endpoint"] for line in lines if low <= line["status"] <= high)


def made(site, more, **headers):
    """Make a background response or a job, and return its id."""
    body = json.dumps({"model": "gpt-test", "input": "hi", **more}).encode()
    asked = urllib.request.Request(f"{site.gateway.url}/responses", body, site.head(**headers))
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.loads(answer.read())["id"]
