"""Waits for the next rows of recordings."""

from functools import partial

from gateway.polling import Polling
from gateway.recordings import rows

INTERVAL = 0.1  # seconds between two looks
PLACES = 64  # rows looked for by one query


class Poller(Polling):
    """Holds who waits for which row, by the recording's id and the part."""

    def __init__(self, database):
        super().__init__(self.come, INTERVAL, PLACES, "recordings could not be read")
        self.database = database

    def come(self, places):
        """Return {(id, part): Row} of the rows that have come."""
        return self.database.read(partial(rows.at, places=places))
