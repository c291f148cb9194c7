"""What a check says, and how other programs are asked."""

import shutil
import subprocess
from typing import NamedTuple

OK, WARNING, PROBLEM = "ok", "warning", "problem"
PATIENCE = 10  # seconds for another program to answer


class Finding(NamedTuple):
    """A level, what was looked at, and a sentence that also says what to do."""

    level: str
    name: str
    message: str


def judge(good, name, fine, wrong, level=PROBLEM):
    """Return a finding: `fine` says what is right, `wrong` what is not and what to do."""
    return Finding(OK, name, fine) if good else Finding(level, name, wrong)


def said(*command):
    """Return (exit status, output and complaints) of a program, or None where there is none."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")
