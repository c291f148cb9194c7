"""What this process knows of its surroundings, looked at once a second for the metrics."""

import logging
import time

from gateway.metrics import tally

log = logging.getLogger("gateway")

EVERY = 1.0  # seconds
AWAY = 5  # seconds without the database that are worth a word


class Gauges:
    """Keeps the gauges that nothing else sets.

    `states` are the upstreams', `keys` the KeyStore, `lines` the log's.
    """

    def __init__(self, states, keys, lines, clock=time.monotonic):
        self.states, self.keys, self.lines, self.clock = states, keys, lines, clock

    def run(self, stop):
        """Look until `stop` is set."""
        while not stop.wait(EVERY):
            try:
                self.look()
            except Exception:
                log.exception("the gauges could not be set")

    def look(self):
        tally.upstreams = self.states.values(self.clock())
        for names, count in self.states.openings():
            tally.opened[names] += count
        lost, self.lines.lost = self.lines.lost, 0
        tally.lines_dropped += lost
        tally.database_away = int(self.keys.away_for() >= AWAY)
