"""Runs what would block: in a native thread where gevent has patched, directly elsewhere."""

from gevent import get_hub, monkey


def aside(function, *args):
    """Return what the function returns; the hub goes on meanwhile."""
    if monkey.is_module_patched("threading"):
        return get_hub().threadpool.apply(function, args)
    return function(*args)
