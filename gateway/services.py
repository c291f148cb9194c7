"""The one wiring file: every long-lived object, built once per process."""

import threading
from functools import partial

from flask import current_app
from werkzeug.local import LocalProxy

from gateway import errors, upstreams, usage
from gateway.database import Database
from gateway.draining import Flag
from gateway.exchange import Exchange
from gateway.gate import ROOM, Gate
from gateway.gauges import Gauges
from gateway.idempotency import Idempotency
from gateway.jobs import sweep as jobs_sweep
from gateway.jobs.background import Background, unfinished
from gateway.jobs.recorded import Recorded
from gateway.jobs.running import NO_SINK, Running
from gateway.jobs.store import Jobs
from gateway.jobs.waiting import Waiting
from gateway.jobs.worker import NO_WORKER, Worker
from gateway.keys import KeyStore
from gateway.limits import NO_TICKET, Limits, stores
from gateway.logs import Lines
from gateway.metrics import tally
from gateway.recordings import Recordings
from gateway.routing.catalogue import Catalogue
from gateway.routing.router import Router
from gateway.routing.states import States
from gateway.stored import Stored
from gateway.turns import NO_TURN, Turn
from gateway.usage.recorder import Recorder
from gateway.usage.spool import Spool
from gateway.usage.sweep import Sweep


class Services:
    """What a process needs to answer; build it after fork."""

    def __init__(self, settings):
        self.settings = settings
        self.database = Database(settings.server.database_url)
        self.keys = KeyStore(self.database, settings.api_keys)
        self.upstreams = upstreams.build(settings)
        self.catalogue = Catalogue(settings, self.upstreams)
        self.router = Router(self.catalogue, settings.retry, settings.timeouts.keepalive)
        self.states = States(self.router, self.catalogue)
        self.lines = Lines()
        self.gauges = Gauges(self.states, self.keys, self.lines)
        self.draining = Flag(settings)
        room = max(ROOM, settings.server.max_body_mb * 1024 * 1024)
        self.gate = Gate(settings.server.max_in_flight, room=room)
        self.recorder = Recorder(self.database, Spool(settings.state / "spool"))
        self.sweep = Sweep(self.database, settings.usage.retention_days)
        self.limits = Limits(stores.build(settings), self.spent)
        self.stored = Stored(self.database, settings.responses.retention_hours)
        self.recordings = Recordings(self.database)
        self.idempotency = Idempotency(self.database, self.recordings)
        self.background = Background(self.stored, settings.jobs.retention_hours * 3600)
        self.jobs = Jobs(self.database, settings.jobs, told=self.background)
        self.jobs_sweep = jobs_sweep.Sweep(self.jobs, [self.recordings.remove])
        self.waiting = Waiting(self.jobs)
        self.worker = NO_WORKER
        if settings.jobs.concurrency:
            self.worker = Worker(self.jobs, self.running, settings.jobs.concurrency)
        self.stopping = threading.Event()
        self.leaving = threading.Event()  # set when only what others do holds this process up

    def running(self, claimed):
        """Return what runs a claimed job."""
        sink = NO_SINK
        if claimed.background:
            sink = Recorded(self.background, self.recordings, claimed)
        return Running(self, claimed, sink)

    def spent(self, keys, since):
        """Return {key: nano-USD}, what the usage table says was spent since a unix second."""
        return usage.spent(self.database, keys, since)

    def price(self, model):
        """Return what a model costs, or None where that or the model itself is not known."""
        try:
            return self.catalogue.find(model).targets[0].price
        except errors.GatewayError:
            return None  # The exchange says so, where its client hears it.

    def start(self):
        """Begin what runs in the background, each a loop until the process stops."""
        loops = (
            self.keys,
            self.catalogue,
            self.recorder,
            self.stored,
            self.lines,
            tally,
            self.gauges,
        )
        jobs = (self.jobs_sweep, self.waiting, self.worker)
        kept = (*self.recordings.loops, *self.idempotency.loops)
        for loop in (*loops, self.sweep, *self.limits.loops, *jobs, *kept):
            threading.Thread(target=loop.run, args=(self.stopping,), daemon=True).start()

    def exchange(self, endpoint, payload, guard, line, ticket=NO_TICKET, size=0, recorder=None):
        """Return the exchange of one client call, ready to run.

        `size` is its body's in bytes; `recorder` takes the row of its usage, if not ours does.
        """
        turn = NO_TURN
        if endpoint == "responses":
            missing = partial(unfinished, self.jobs)
            turn = Turn(self.stored, self.settings.responses.store, line.key, missing)
        found = Exchange(
            self.router,
            recorder or self.recorder,
            endpoint,
            payload,
            guard,
            line,
            turn=turn,
            ticket=ticket,
        )
        if ticket is not NO_TICKET:
            found.call.size = size
            found.call.price = self.price(payload["model"])
        return found

    def refused(self, line):
        """Write and count what was answered before it had become a request."""
        tally.answered(line)
        self.lines.add("info", line.fields(line.started))

    def drain(self, seconds):
        """Wait for jobs and for calls that have outlived their clients; end them in time."""
        self.waiting.close()
        calls = threading.Thread(target=self.idempotency.drain, args=(seconds,), daemon=True)
        calls.start()
        self.worker.drain(seconds)
        calls.join()
        self.leaving.set()

    def close(self):
        """End the background, write what is still to be written, close every connection."""
        self.worker.drain()
        self.idempotency.drain()
        self.recordings.close()
        self.stopping.set()
        self.recorder.close()
        self.lines.flush()
        tally.flush()
        for upstream in self.upstreams.values():
            upstream.close()
        self.limits.close()
        self.database.close()


services = LocalProxy(lambda: current_app.extensions["gateway"])
