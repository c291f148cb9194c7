"""`gateway serve`: become gunicorn."""

import os
import sys
from pathlib import Path

import click

import gateway
from gateway.cli import load_settings
from gateway.keys import new_secret

CONFIGURATION = Path(gateway.__file__).with_name("gunicorn_conf.py")


@click.command()
@click.option("--bind", metavar="ADDRESS", help="Where the API listens, such as 127.0.0.1:8000.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; one a core if left out.")
def serve(bind, workers):
    """Serve the API. With no configuration: a small local model and a fresh key."""
    if bind:
        os.environ["GATEWAY_BIND"] = bind
    if workers:
        os.environ["WEB_CONCURRENCY"] = str(workers)
    if load_settings().local_model is not None:
        add_start_key(os.environ)
    # exec, so that signals, systemd's sockets and Ctrl-C meet one process.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(CONFIGURATION)])


def add_start_key(environ):
    """Make the key that the banner shows; it lives as long as the process does."""
    secret = new_secret()
    known = environ.get("GATEWAY_API_KEYS")
    environ["GATEWAY_API_KEYS"] = f"{known},{secret}" if known else secret
    environ["GATEWAY_START_KEY"] = secret
