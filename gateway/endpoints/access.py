"""Who may come in: every request needs a key unless its endpoint is on the short list of others."""

import functools
import re

from gateway import errors
from gateway.config.checks import ENDPOINTS
from gateway.endpoints.admission import GUARDED

PUBLIC = frozenset(
    {"health.live", "health.ready", "metrics.show", "description.openapi", "description.docs"}
)
BEARER = re.compile(r"bearer +([!-+\--~]+)", re.IGNORECASE)  # printable, no comma


def check(visit):
    """Find the key of a request; decided by the endpoint that matched, never by its path alone.

    Raises InvalidKey, EndpointNotAllowed or UnknownURL. What matched nothing and is not below /v1
    is let through to its 404.
    """
    endpoint, environ = visit.endpoint, visit.environ
    if endpoint in PUBLIC or (endpoint is None and not below_v1(visit.path)):
        refuse_merged(visit)
        return
    if on_ops_listener(visit):
        raise errors.UnknownURL(f"Invalid URL ({visit.method} {visit.path})")
    visit.key = visit.services.keys.verify(token(environ))
    visit.line.key = visit.key.id
    refuse_merged(visit)
    if visit.key.endpoints is not None:
        check_endpoint(visit.key, visit.line.endpoint)


def refuse_merged(visit):
    """Raise UnknownURL for a path whose first slashes were merged to find its endpoint."""
    if visit.environ["PATH_INFO"].startswith("//"):
        raise errors.UnknownURL(f"Invalid URL ({visit.method} /{visit.path})")


def check_endpoint(key, endpoint):
    """Raise EndpointNotAllowed; lists of models and of one's own jobs are every key's."""
    if endpoint in ENDPOINTS and endpoint not in key.endpoints:
        raise errors.EndpointNotAllowed()


def find(visit, model):
    """Return the Route of a model that the key may use. Raises ModelNotFound.

    What the key may not use is never looked up, so nothing tells whether there is such a model.
    """
    if not visit.key.may_use(model):
        raise errors.ModelNotFound(model[:200])
    return visit.services.catalogue.find(model)


def count(visit):
    """Count a request against its key's limits. Raises RateLimited."""
    key = visit.key
    if key is not None and key.limited:
        visit.ticket = visit.services.limits.admitted(key)
        if visit.endpoint in GUARDED:
            visit.ticket.count()


def token(environ):
    """Return the bearer token. Raises InvalidKey."""
    found = BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        raise errors.InvalidKey()
    return found[1]


def below_v1(path):
    return path.lstrip("/").lower().partition("/")[0] == "v1"


def on_ops_listener(visit):
    """Say whether the accepting socket was the ops listener's, whatever Host says."""
    return is_ops(visit.environ.get("gateway.listener"), visit.services.settings.server.ops_bind)


@functools.lru_cache(maxsize=16)  # every request asks, of the same few listeners
def is_ops(address, bind):
    """Compare a socket's own address with a configured one, such as 127.0.0.1:8001 or unix:/x."""
    if not bind:
        return False
    if bind.startswith("unix:"):
        return address == bind.removeprefix("unix:")
    if not isinstance(address, tuple):
        return False
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    return str(address[1]) == port and host in (address[0], "0.0.0.0", "::", "")
