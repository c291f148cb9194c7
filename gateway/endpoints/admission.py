"""Keeps a worker from taking more than it can serve: calls, and what their bodies weigh."""

from functools import partial

GUARDED = frozenset({"v1.chat.create", "v1.responses.create", "v1.embeddings.create"})


def enter(visit):
    """Take a place for a call that goes to an upstream. Raises ServerOverloaded."""
    if visit.endpoint in GUARDED:
        visit.services.gate.enter()
        visit.admitted = True


def hold(visit, size, left):
    """Hold some bytes of a call's body until it leaves. Raises ServerOverloaded."""
    if visit.admitted:
        visit.services.gate.hold(size, left)
        visit.held += size


def handed_on(visit):
    """Return what gives back the call's place: it is no longer the request's."""
    if not visit.admitted:
        return nothing
    visit.admitted = False
    return partial(visit.services.gate.leave, visit.held)


def nothing():
    pass


def leave(visit, response):
    """Give the place back when the last byte is out."""
    if visit.admitted:
        response.call_on_close(handed_on(visit))


def abandon(visit):
    """Give the place back for a call that was given up before it had an answer."""
    handed_on(visit)()
