"""The standard streams of a command: what a closed or full one does, and what has no encoding."""

import errno
import io
import json
import os
import sys

import click

# What stands for a closed stream: reading and writing fail there, but words to stderr are lost,
# since nobody could be told.
CLOSED = (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def prepare():
    """Open the standard streams that are closed, and let all take any character."""
    for name, flags, mode in CLOSED:
        if getattr(sys, name) is None:
            # Without this a database could be opened under the stream's own descriptor, which is
            # the lowest free one. It is not inherited: what is executed finds it closed again.
            descriptor = os.open(os.devnull, flags)
            setattr(sys, name, open(descriptor, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def settle():
    """Throw away what cannot be written, or Python would complain of it in its own words."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def closed():
    """Tell whether nothing can be written to standard output, without writing to it."""
    try:
        os.write(sys.stdout.fileno(), b"")
    except OSError as exc:  # of a stream without a descriptor too, which takes what it is given
        return exc.errno == errno.EBADF
    return False


def reason(exc):
    """Say in a few words what an OSError complains of."""
    if exc.errno == errno.EBADF and closed():
        return "standard output is closed"
    return exc.strerror or str(exc)


def echo_json(value):
    """Print a value as JSON, in UTF-8 whatever the encoding of the terminal."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # What UTF-8 cannot hold, half a surrogate pair, becomes the escape that JSON has for it.
    click.echo(text.encode(errors="backslashreplace"))
