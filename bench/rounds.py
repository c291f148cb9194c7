"""The rounds: every system is started, measured in turn with the others, and stopped again."""

import contextlib
import pathlib

from bench import measures, relays, scaling
from bench.load import Broken
from bench.processes import Vanished, pss
from bench.systems.base import NotStarted
from bench.systems.gateway import Gateway
from bench.systems.upstream import Upstream

FAULTS = (Broken, Vanished, NotStarted)
LOADS = ("single", "small", "full", "chunks", "prompt")
MEASURES = ("relays", "open", *LOADS, "scaling")
SLOW = ("portkey", "litellm")
SLOW_ROUNDS = 2  # in which slow systems take part in what takes them minutes
CURVE_ROUNDS = 1


class Rounds:
    """Runs rounds over `systems` (classes), and gives what they bring to `results`."""

    def __init__(self, systems, sizes, results, wanted, folder, say):
        self.sizes, self.results, self.wanted, self.say = sizes, results, wanted, say
        self.folder = pathlib.Path(folder)
        self.upstream = Upstream(folder)
        self.systems = [one(folder, self.upstream.port) for one in systems]
        self.number = 0

    def run(self, rounds):
        """Run so many rounds. The upstream is a system too, and the only one that keeps running."""
        try:
            self.upstream.start()
            measures.warm(self.upstream, self.sizes)
            for self.number in range(rounds):
                self.round(f"round {self.number + 1} of {rounds}: ")
        finally:
            self.upstream.stop()

    def round(self, title):
        if "relays" in self.wanted:
            self.say(f"{title}Responses, translated and native")
            for name, value in relays.measured().items():
                self.results.add(self.number, name, {"relay_cpu": value})
        if "open" in self.wanted:
            for system in self.turn([self.upstream, *self.systems]):
                self.say(f"{title}open streams of {system.name}")
                self.open(system)
        with contextlib.ExitStack() as stack:
            self.loads(title, stack)
        if "scaling" in self.wanted and self.number < CURVE_ROUNDS and self.gateways():
            self.say(f"{title}how the gateway's cost grows")
            self.curves()

    def turn(self, systems):
        """Return the systems in this round's order: each round begins with another."""
        at = self.number % len(systems)
        return systems[at:] + systems[:at]

    def gateways(self):
        return [system for system in self.systems if isinstance(system, Gateway)]

    @contextlib.contextmanager
    def running(self, system):
        """Run a system that was not running, and note how long its start took."""
        if system is self.upstream:
            yield
            return
        try:
            system.start()
            self.results.append("start", system.name, system.startup)
            yield
        finally:
            system.stop()

    @contextlib.contextmanager
    def faults(self, system, what):
        """Note what goes wrong with a system, and go on with the next."""
        try:
            yield
        except FAULTS as exc:
            self.results.note(f"{system.name}, {what}: {exc}")
            self.upstream.break_off()

    def open(self, system):
        """Measure open streams on a fresh process, whose memory nothing else has stretched."""
        slow = system.name in SLOW and self.number >= SLOW_ROUNDS
        if slow or not system.relays:
            return
        with self.faults(system, "open streams"), self.running(system):
            measures.warm(system, self.sizes)
            measures.singles(system, self.upstream, self.sizes)
            self.results.add(self.number, system.name, {"idle_memory": pss(system.pid)})
            idle = pss(system.pid, "Pss_Anon")
            for count in self.sizes.open:
                with self.faults(system, f"{count:,} open streams"):
                    found = measures.open_streams(system, self.upstream, self.sizes, count, idle)
                    self.results.add(self.number, system.name, found)

    def loads(self, title, stack):
        """Run all systems at once, and load one at a time."""
        running = [self.upstream]
        wanted = [name for name in LOADS if name in self.wanted]
        for system in self.turn(self.systems) if wanted else ():
            self.say(f"{title}start of {system.name}")
            with self.faults(system, "start"):
                stack.enter_context(self.running(system))
                measures.warm(system, self.sizes)
                running.append(system)
        if wanted:
            self.say(f"{title}all of them idle")
            for name, found in measures.idle(running, self.sizes).items():
                self.results.add(self.number, name, found)
        for name in wanted:
            for system in self.turn(running):
                if system.relays or name in ("single", "small", "full"):
                    self.say(f"{title}{name}, {system.name}")
                    self.load(name, system)

    def load(self, name, system):
        with self.faults(system, name):
            if name == "chunks":
                found = measures.chunks(system, self.upstream, self.sizes)
            else:
                found = getattr(measures, name)(system, self.sizes)
            self.results.add(self.number, system.name, found)

    def curves(self):
        """Measure how the cost of the gateway grows, with gateways of its own for that."""
        gateway = self.gateways()[0]
        with self.faults(gateway, "scaling"):
            with self.running(gateway):
                measures.warm(gateway, self.sizes)
                scaling.of_bodies(gateway, self.sizes, self.results)
            scaling.of_models(self.make, self.sizes, self.results)
            scaling.of_keys(self.make, self.sizes, self.results)

    def make(self, **more):
        return Gateway(self.folder / f"curves-{self.number}", self.upstream.port, **more)
