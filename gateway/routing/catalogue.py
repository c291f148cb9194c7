"""Which models there are: those of the configuration, and those that upstreams list."""

import collections
import logging
import math
import threading
import time
from typing import NamedTuple

from gateway import errors

log = logging.getLogger("gateway")

REFRESH = 60  # seconds between two looks at what upstreams list
LONGEST_ID = 256
AGAIN = 2  # the same while one of them does not answer


class Route(NamedTuple):
    """Where a model's calls go; `label` is its name in metrics, bounded by the configuration."""

    model: str
    targets: tuple
    fallbacks: tuple = ()
    label: str = "other"
    created: int = 0


class Target(NamedTuple):
    """One upstream of a model, the name that it knows the model by, and the model's price."""

    upstream: object
    model: str
    weight: float = 1
    priority: int = 0
    price: object = None


class Catalogue:
    """Finds the route of a model id."""

    def __init__(self, settings, upstreams, clock=time.monotonic):
        self.upstreams, self.clock = upstreams, clock
        self.started = int(time.time())
        self.exact, self.wildcards = {}, []
        for model in settings.models.values():
            if model.wildcard:
                self.wildcards.append(model)
            else:
                self.exact[model.id] = self.route(model, model.id)
        self.wildcards.sort(key=lambda model: len(model.id), reverse=True)
        self.discovering = [upstreams[u.name] for u in settings.upstreams.values() if u.discover]
        self.discovered = {}  # upstream name to the ids it listed last
        self.offered = {}  # routes by model id, of all that is listed
        self.failed = {}  # upstream name to the error of its last listing
        self.lock = threading.Lock()
        self.looks, self.looked = 0, -math.inf  # how often all were asked, and when last

    def route(self, model, asked):
        """Return the route of a configured model for the id that was asked for."""
        rest = asked[len(model.id) - 1 :] if model.wildcard else asked
        targets = tuple(
            Target(
                self.upstreams[t.upstream],
                (t.model or asked).replace("*", rest) if model.wildcard else t.model,
                t.weight,
                t.priority,
                model.price,
            )
            for t in model.targets
        )
        return Route(asked, targets, model.fallbacks, model.id, self.started)

    def find(self, model):
        """Return the Route of a model id. Raises ModelNotFound."""
        found = self.exact.get(model) or self.offered.get(model) or self.matching(model)
        if found is None and len(self.discovered) < len(self.discovering):
            self.look()
            found = self.offered.get(model)
            if found is None and self.failed:
                raise next(iter(self.failed.values())).with_traceback(None)
        if found is None:
            raise errors.ModelNotFound(model[:200])
        return found

    def matching(self, model):
        if not sane(model):
            return None
        for wildcard in self.wildcards:
            if wildcard.matches(model):
                return self.route(wildcard, model)
        return None

    def all(self):
        """Return the routes of every model that has a name of its own, sorted by id."""
        if not self.looks:
            self.look()
        found = {**self.offered, **self.exact}
        return [found[name] for name in sorted(found)]

    def look(self):
        """Ask the upstreams unless they were asked a moment ago: at a fresh start nobody has."""
        if self.discovering and self.clock() - self.looked > AGAIN:
            self.refresh()

    def refresh(self):
        """Ask the upstreams that are to be discovered what they offer.

        Who comes meanwhile waits for what that brings, and does not ask again.
        """
        before = self.looks
        with self.lock:
            if self.looks == before:
                for upstream in self.discovering:
                    self.discover(upstream)
                self.merge()
                self.looks, self.looked = before + 1, self.clock()

    def discover(self, upstream):
        try:
            names = upstream.models()
        except errors.GatewayError as exc:
            if upstream.name not in self.failed:
                log.warning("models of %s could not be listed: %s", upstream.name, exc.code)
            self.failed[upstream.name] = exc
            return
        self.failed.pop(upstream.name, None)
        self.discovered[upstream.name] = [name for name in names if sane(name)]

    def merge(self):
        """Offer each listed model."""
        targets = collections.defaultdict(dict)
        for upstream in self.discovering:
            for name in self.discovered.get(upstream.name, ()):
                targets[name][upstream.name] = Target(upstream, name)
        self.offered = {name: self.listed(name, found) for name, found in targets.items()}

    def listed(self, name, targets):
        """Return the route of a model that upstreams list; `targets` is {upstream name: Target}.

        It leads to all of them, unless a wildcard that matches names one of them: that one says
        what the model costs, and where else its calls may go.
        """
        wildcard = self.matching(name)
        if wildcard is not None and any(t.upstream.name in targets for t in wildcard.targets):
            return wildcard
        label = f"{next(iter(targets))}:discovered"
        return Route(name, tuple(targets.values()), (), label, self.started)

    def run(self, stop):
        """Keep the list fresh until `stop` is set."""
        while self.discovering:
            try:
                self.refresh()
            except Exception as exc:
                log.error("what upstreams offer could not be listed", exc_info=exc)
            if stop.wait(AGAIN if self.failed else REFRESH):
                return


def sane(model):
    """Tell whether an id is one that headers, logs and rows can hold."""
    return 0 < len(model) <= LONGEST_ID and model.isprintable()
