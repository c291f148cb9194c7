"""Prometheus's own tool, which checks metrics, rules and what rules do."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def promtool():
    """Return a function that runs promtool; without it tests skip, but in CI they fail."""
    if shutil.which("promtool") is None:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell("There is no promtool to check with.")

    def run(*arguments, stdin=None):
        command = ["promtool", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60)

    return run
