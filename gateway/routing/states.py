"""How the upstreams fare by what breakers have seen, under names that the configuration bounds.

Clients may make up names that a wildcard matches: these are told as the wildcard's own.
"""

import collections

from gateway.key import matches
from gateway.routing.breaker import HALF_OPEN, OPEN

VALUES = {HALF_OPEN: 0.5, OPEN: 1.0}  # closed is 0


class States:
    """Looks at the breakers of a router; changes nothing and asks no upstream."""

    def __init__(self, router, catalogue):
        self.router, self.catalogue = router, catalogue
        self.exact = collections.defaultdict(set)  # (upstream, its model) to labels
        self.patterns = []  # (upstream, the pattern of its models, the wildcard)
        self.known = set()  # (upstream, label)
        for route in catalogue.exact.values():
            for target in route.targets:
                self.exact[target.upstream.name, target.model].add(route.label)
        for wildcard in catalogue.wildcards:
            for target in wildcard.targets:
                name = target.model or wildcard.id
                if name.endswith("*"):
                    self.patterns.append((target.upstream, name, wildcard))
                else:
                    self.exact[target.upstream, name].add(wildcard.id)
                self.known.add((target.upstream, wildcard.id))
        self.known.update(
            (name, label) for (name, _), found in self.exact.items() for label in found
        )
        self.known.update((up.name, f"{up.name}:discovered") for up in catalogue.discovering)

    def values(self, now):
        """Map each (upstream, label) to its state: the worst of the models that share the label."""
        found = dict.fromkeys(self.known, 0.0)
        for (upstream, model), breaker in list(self.router.breakers.items()):
            if breaker.until is not None:
                value = VALUES[breaker.state(now)]
                for label in self.labels(upstream, model):
                    self.known.add((upstream, label))  # so that it is told when it has closed again
                    found[upstream, label] = max(value, found.get((upstream, label), 0.0))
        return found

    def openings(self):
        """Yield ((upstream, label), count) for breakers that have opened since the last look."""
        for (upstream, model), breaker in list(self.router.breakers.items()):
            count, breaker.openings = breaker.openings, 0
            if count:
                for label in self.labels(upstream, model):
                    yield (upstream, label), count

    def labels(self, upstream, model):
        """Return the names that an upstream's model has in metrics."""
        found = self.exact.get((upstream, model))
        if found:
            return found
        wildcard, _ = self.wildcard(upstream, model)
        if wildcard is not None:
            return (wildcard.id,)
        offered = self.catalogue.offered.get(model)
        return (offered.label if offered is not None else "other",)

    def wildcard(self, upstream, model):
        """Return the wildcard that an upstream's model belongs to, and what its `*` stands for."""
        for name, pattern, wildcard in self.patterns:
            if name == upstream and matches(pattern, model):
                return wildcard, model[len(pattern) - 1 :]
        return None, ""

    def degraded(self):
        """Tell whether there is a model that no closed breaker lets calls through for."""
        breakers = list(self.router.breakers.items())
        shut = {name for name, breaker in breakers if breaker.until is not None}
        if not shut:
            return False
        models = {*self.catalogue.exact, *self.catalogue.offered}
        models.update(filter(None, (self.asked(*name) for name in shut)))
        return any(self.down(model, shut) for model in models)

    def asked(self, upstream, model):
        """Return the id by which clients ask for an upstream's model that a wildcard matches."""
        wildcard, rest = self.wildcard(upstream, model)
        return wildcard and wildcard.id[:-1] + rest

    def down(self, model, shut):
        route = self.held(model)
        if route is None:  # an id too long to be asked for, of a model with a longer name
            return False
        routes = (route, *map(self.held, route.fallbacks))
        targets = [target for route in routes if route for target in route.targets]
        return all((target.upstream.name, target.model) in shut for target in targets)

    def held(self, model):
        """Return a model's route by what is known; `find()` may ask upstreams for it."""
        catalogue = self.catalogue
        return (
            catalogue.exact.get(model) or catalogue.offered.get(model) or catalogue.matching(model)
        )
