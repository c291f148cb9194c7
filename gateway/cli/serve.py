"""`gateway serve`: become gunicorn."""

import os
import socket
import sys
from functools import partial
from pathlib import Path

import click

import gateway
from gateway import binding
from gateway.cli import fail, load_settings
from gateway.config.checks import MOST_WORKERS
from gateway.keys import new_secret

CONFIGURATION = Path(gateway.__file__).with_name("gunicorn_conf.py")


@click.command()
@click.option("--bind", metavar="ADDRESS", help="Where the API listens, such as 127.0.0.1:8000.")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    help="Processes; one a core if left out.",
)
def serve(bind, workers):
    """Serve the API. With no configuration: a small local model and a fresh key."""
    if bind:
        os.environ["GATEWAY_BIND"] = bind
    if workers:
        os.environ["WEB_CONCURRENCY"] = str(workers)
    if not os.environ.get("WEB_CONCURRENCY"):
        os.environ.pop("WEB_CONCURRENCY", None)  # gunicorn takes an empty one for a number
    settings = load_settings()
    check_free(settings.server)
    if settings.local_model is not None:
        add_start_key(os.environ)
    # exec, so that signals, systemd's sockets and Ctrl-C meet one process.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(CONFIGURATION)])


def check_free(server):
    """End with a sentence where somebody else listens already; gunicorn would try for seconds."""
    if os.environ.get("LISTEN_FDS"):
        return  # systemd listens for us
    for bind in filter(None, (server.bind, server.ops_bind)):
        host, _, port = bind.rpartition(":")
        try:
            if bind.startswith("unix:"):
                binding.patiently(partial(binding.unheard, bind.removeprefix("unix:")))
            else:
                free_or_raise(host.strip("[]"), int(port))
        except OSError as exc:
            fail(f"The gateway cannot listen on {bind}: {exc.strerror}.")


def free_or_raise(host, port):
    """Bind and let go. Raises OSError, for an address in use not before it has been for a while."""
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, proto) as sock:
        binding.occupy(sock, address)


def add_start_key(environ):
    """Make the key that the banner shows; it lives as long as the process does."""
    secret = new_secret()
    known = environ.get("GATEWAY_API_KEYS")
    environ["GATEWAY_API_KEYS"] = f"{known},{secret}" if known else secret
    environ["GATEWAY_START_KEY"] = secret
