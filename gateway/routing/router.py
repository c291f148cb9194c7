"""Which upstream answers a call: candidates in order, tries until one has answered."""

import collections
import contextlib
import random

from gateway import errors, watch
from gateway.routing import affinity
from gateway.routing.breaker import Breaker
from gateway.routing.retry import Budget
from gateway.routing.tries import Tries
from gateway.translate import request
from gateway.upstreams.base import PING
from gateway.upstreams.dialects import speaks

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}
QUEUE = 0.5  # seconds to wait for a place at upstreams that are all full
LOOK = 0.02  # seconds between two looks for one
KEPT = 10_000  # breakers and budgets; wildcards let clients make up names
HISTORY = ("previous_response_id", "conversation")  # what only a stateful upstream can know


class Router:
    """Sends calls to the upstreams of their model; `settings` is the table [retry]."""

    def __init__(self, catalogue, settings, keepalive, rand=random.random):
        self.catalogue, self.settings, self.rand = catalogue, settings, rand
        self.keepalive = keepalive
        self.breakers = collections.OrderedDict()  # by upstream and its model
        self.budgets = collections.OrderedDict()  # by model
        self.load = collections.Counter()  # calls in flight by upstream

    def candidates(self, call, key=None):
        """Return the targets that can take the call, best first; `key` is an API key's id.

        Raises EndpointNotSupported or StreamNotSupported if none of them ever could.
        """
        route = self.catalogue.find(call.model)
        if len(route.targets) == 1 and not route.fallbacks and suits(call, route.targets[0]):
            return route.targets
        targets = self.ranked(route)
        speaking = [t for t in targets if speaks(t.upstream, call.endpoint)]
        if not speaking:
            raise errors.EndpointNotSupported(call.model, PATHS[call.endpoint])
        able = [t for t in speaking if t.upstream.streams] if call.stream else speaking
        if not able:
            raise errors.StreamNotSupported(call.model)
        native = [t for t in able if call.endpoint in t.upstream.endpoints]
        if any(call.payload.get(name) for name in HISTORY):
            able = [t for t in native if t.upstream.stateful] or able
        if native and len(native) < len(able) and not translatable(call):
            able = native
        return self.ordered(able, call, key)

    def routes(self, model):
        """Return a model's targets and its fallbacks', each rank below the one before it."""
        return self.ranked(self.catalogue.find(model))

    def ranked(self, route):
        if not route.fallbacks:
            return route.targets
        found, rank = {}, 0
        for other in (route, *self.fallbacks(route)):
            highest = rank
            for target in other.targets:
                key = (target.upstream.name, target.model)
                found.setdefault(key, target._replace(priority=rank + target.priority))
                highest = max(highest, rank + target.priority)
            rank = highest + 1
        return list(found.values())

    def fallbacks(self, route):
        """Yield the routes of a model's fallbacks; one that is not listed yet is left out."""
        for model in route.fallbacks:
            with contextlib.suppress(errors.GatewayError):
                yield self.catalogue.find(model)

    def ordered(self, targets, call, key):
        """Sort by priority, and within one by affinity and load."""
        if len(targets) == 1:
            return list(targets)
        name = affinity.conversation(call, key)
        found = []
        for priority in sorted({target.priority for target in targets}):
            equal = [target for target in targets if target.priority == priority]
            found += affinity.order(equal, name, lambda t: self.load[t.upstream.name])
        return found

    def whole(self, call, key=None):
        """Return the answer of the first upstream that gives one."""
        tries = Tries(self, call, self.candidates(call, key))
        while True:
            target = self.begin(tries, call)
            try:
                answer = target.upstream.whole(call, target.model)
                tries.succeeded()
                return answer
            except errors.GatewayError as error:
                wait = tries.failed(error)
            finally:
                tries.end()
            for _ in self.resting(call, wait):
                pass  # who waits for a whole answer hears nothing before it

    def stream(self, call, key=None):
        """Yield blocks of events, or PING; nothing else is tried once a block has been yielded."""
        tries = Tries(self, call, self.candidates(call, key))
        while True:
            target = self.begin(tries, call)
            answered, blocks = False, target.upstream.stream(call, target.model)
            try:
                for block in blocks:
                    if block is not PING and not answered:
                        answered = True
                        tries.succeeded()
                    yield block
                if not answered:
                    raise errors.UpstreamBadResponse()
                return
            except errors.GatewayError as error:
                if answered:
                    tries.broke(error)
                    raise
                wait = tries.failed(error)
            finally:
                tries.end()
                blocks.close()
            yield from self.resting(call, wait)

    def begin(self, tries, call):
        """Begin a try, waiting a moment where all the upstreams are full."""
        patience = call.clock() + QUEUE
        while True:
            try:
                return tries.begin()
            except errors.ServerOverloaded:
                if call.clock() >= patience:
                    raise
            rest(call, LOOK)

    def resting(self, call, seconds):
        """Wait before the next try, yielding PING when the client should hear something."""
        end = call.clock() + seconds
        while (left := end - call.clock()) > 0:
            try:
                rest(call, left, pause=call.spoke + self.keepalive)
            except watch.Pause:
                yield PING
                call.spoke = call.clock()

    def full(self, target):
        limit = target.upstream.max_in_flight
        return limit > 0 and self.load[target.upstream.name] >= limit

    def breaker(self, target):
        return self.breaker_of(target.upstream.name, target.model)

    def breaker_of(self, upstream, model):
        return kept(self.breakers, (upstream, model), Breaker)

    def budget(self, model):
        return kept(self.budgets, model, Budget)


def rest(call, seconds, **limits):
    """Wait for an upstream's sake, which is its time and not the gateway's own."""
    began = call.clock()
    try:
        call.watch.sleep(seconds, **limits)
    finally:
        call.upstream_seconds += call.clock() - began


def suits(call, target):
    """Tell whether a target can take the call as it is."""
    upstream = target.upstream
    return call.endpoint in upstream.endpoints and (upstream.streams or not call.stream)


def translatable(call):
    """Tell whether an upstream that speaks only chat can be told all of a call for a response."""
    try:
        request.to_chat(call.payload)
    except errors.InvalidRequest:
        return False
    return True


def kept(table, name, make):
    """Return an entry, made at first use; what was not used for longest makes room."""
    if name in table:
        table.move_to_end(name)
    else:
        table[name] = make()
        if len(table) > KEPT:
            table.popitem(last=False)
    return table[name]
