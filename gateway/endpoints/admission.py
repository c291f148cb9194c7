"""Keeps a worker from taking more calls than it can serve, before it reads their bodies."""

GUARDED = frozenset({"v1.chat.create", "v1.responses.create", "v1.embeddings.create"})


def enter(visit):
    """Take a place for a call that goes to an upstream. Raises ServerOverloaded."""
    if visit.endpoint in GUARDED:
        visit.services.gate.enter()
        visit.admitted = True


def leave(visit, response):
    """Give the place back when the last byte is out."""
    if visit.admitted:
        visit.admitted = False
        response.call_on_close(visit.services.gate.leave)


def abandon(visit):
    """Give the place back for a call that was given up before it had an answer."""
    if visit.admitted:
        visit.admitted = False
        visit.services.gate.leave()
