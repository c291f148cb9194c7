"""The soak itself for some seconds: with one reload, and a kill of each kind of worker."""

import json
import subprocess
import sys

import pytest

from bench.soak.kinds import KINDS
from tests.serving import ROOT

pytestmark = pytest.mark.live

SECONDS, RATE = 7, 25
NOT_IN_SECONDS = {"memory grows by less than 1 MB a minute", "descriptors stay as many"}


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    """Return what the program said and what it has found."""
    folder = tmp_path_factory.mktemp("soak")
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--seconds", f"{SECONDS}", "--rate", f"{RATE}"]
        + ["--into", f"{folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout, json.loads((folder / "soak.json").read_text()), folder


def test_seconds_of_every_kind_of_call_break_no_promise(soaked):
    _, found, _ = soaked
    kept = {check["name"]: check["ok"] for check in found["checks"]}
    assert {name for name, ok in kept.items() if ok is None} == NOT_IN_SECONDS
    assert all(ok for name, ok in kept.items() if name not in NOT_IN_SECONDS)
    assert found["calls"] == SECONDS * RATE
    assert found["kinds"].keys() == {kind.name for kind in KINDS}
    assert found["rows"] > 100 and found["held_back"] == 0


def test_meanwhile_a_gateway_is_reloaded_and_its_workers_are_killed(soaked):
    _, found, _ = soaked
    done = [step["what"] for step in found["operations"]]
    assert sorted(done) == sorted(
        ["key made", "key revoked", "kill job", "kill web", "reload", "usage"]
    )
    roles = [process["role"] for process in found["processes"]]
    assert roles.count("master") == 1
    assert roles.count("web worker") >= 4  # two before the reload, two after it
    assert roles.count("job worker") == 2


def test_what_seconds_cannot_show_is_said_to_be_left_out(soaked):
    said, _, folder = soaked
    page = (folder / "soak.md").read_text()
    for name in NOT_IN_SECONDS:
        assert f"Not looked at: {name}." in said and f"Not looked at: {name}." in page
