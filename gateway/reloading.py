"""What is made sure of before a reload takes new settings, as gunicorn would end for all of it."""

import os
import subprocess
import sys

from gateway import metric_files

BUILD = ("-c", "import gateway; gateway.create_app()")
UPGRADE = ("-m", "gateway.cli", "db", "upgrade")
LONGEST = 50  # seconds; what ended more than 60 ago gevent does not tell gunicorn any more


class Refused(Exception):
    """New settings can't be taken; the message says why in a sentence for the operator."""


def prepare(before, after, move):
    """Do what workers need before they can start with new settings; `move()` listens for them.

    Raises Refused.
    """
    if after.local_model is not None and not after.upstreams:
        raise Refused("There is no file any more, and the local model comes up only at a start.")
    rehearse(BUILD)
    if after.server.database_url != before.server.database_url:
        rehearse(UPGRADE)
    try:
        move()
    except OSError as exc:
        raise Refused(f"The gateway cannot listen on {exc.filename}: {exc.strerror}.") from exc


def rehearse(arguments):
    """Run Python on what is to be tried, in a process of its own that nothing is left of.

    Raises Refused, with the last line that it wrote.
    """
    command, given = [sys.executable, *arguments], subprocess.PIPE
    # It counts nothing, and its files would be taken for those of a worker.
    environ = {k: value for k, value in os.environ.items() if k != metric_files.FOLDER}
    try:
        done = subprocess.run(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=given, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"It has taken more than {LONGEST} seconds to try them.") from None
    except OSError as exc:
        raise Refused(f"They cannot be tried: {exc.strerror}.") from exc
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        raise Refused(next(filter(str.strip, reversed(lines)), f"exit code {done.returncode}"))
