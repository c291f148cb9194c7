"""Keeps a worker from taking more calls than it can serve, before it reads their bodies."""

from flask import g, request

from gateway.services import services

GUARDED = frozenset({"v1.chat.create", "v1.responses.create", "v1.embeddings.create"})


def enter():
    """Take a place for a call that goes to an upstream. Raises ServerOverloaded."""
    if request.endpoint in GUARDED:
        services.gate.enter()
        g.admitted = True


def leave(response):
    """Give the place back when the last byte is out."""
    if g.pop("admitted", False):
        response.call_on_close(services.gate.leave)
    return response


def abandon(exc):
    """Give the place back for a call that was given up before it had an answer."""
    if g.pop("admitted", False):
        services.gate.leave()
