"""The one wiring file: every long-lived object, built once per process."""

import threading

from flask import current_app
from werkzeug.local import LocalProxy

from gateway import upstreams
from gateway.database import Database
from gateway.exchange import Exchange
from gateway.gate import Gate
from gateway.keys import KeyStore
from gateway.logs import Lines
from gateway.metrics import tally
from gateway.routing.catalogue import Catalogue
from gateway.routing.router import Router
from gateway.stored import Stored
from gateway.turns import NO_TURN, Turn
from gateway.usage import Recorder


class Services:
    """What a process needs to answer; build it after fork."""

    def __init__(self, settings):
        self.settings = settings
        self.database = Database(settings.server.database_url)
        self.keys = KeyStore(self.database, settings.api_keys)
        self.upstreams = upstreams.build(settings)
        self.catalogue = Catalogue(settings, self.upstreams)
        self.router = Router(self.catalogue, settings.retry, settings.timeouts.keepalive)
        self.lines = Lines()
        self.gate = Gate(settings.server.max_in_flight)
        self.recorder = Recorder(self.database)
        self.stored = Stored(self.database, settings.responses.retention_hours)
        self.stopping = threading.Event()

    def start(self):
        """Begin what runs in the background, each a loop until the process stops."""
        loops = (self.keys, self.catalogue, self.recorder, self.stored, self.lines, tally)
        for loop in loops:
            threading.Thread(target=loop.run, args=(self.stopping,), daemon=True).start()

    def exchange(self, endpoint, payload, guard, line):
        """Return the exchange of one client call, ready to run."""
        turn = NO_TURN
        if endpoint == "responses":
            turn = Turn(self.stored, self.settings.responses.store, line.key)
        return Exchange(self.router, self.recorder, endpoint, payload, guard, line, turn=turn)

    def close(self):
        """End the background, write what is still to be written, close every connection."""
        self.stopping.set()
        self.recorder.flush_safely()
        self.lines.flush()
        tally.flush()
        for upstream in self.upstreams.values():
            upstream.close()
        self.database.close()


services = LocalProxy(lambda: current_app.extensions["gateway"])
