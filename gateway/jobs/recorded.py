"""What a worker keeps of a background response: its stream while it runs, and its end."""

import orjson

from gateway import sse, turns
from gateway.jobs import ended as ends
from gateway.jobs import rows
from gateway.jobs import statements as sql
from gateway.jobs.background import BEGINNING, CLOSING, born, last
from gateway.jobs.store import held, nothing
from gateway.translate.events import unfold
from gateway.upstreams.relay import dump

RUNNING = "response.in_progress"
# The first events are there since the job was accepted, the last one comes with the job's end.
OTHERS = frozenset(kind.encode() for kind in (*BEGINNING, *CLOSING.values()))
OURS = ("id", "created_at", "background", "store")


class Recorded:
    """The sink of a claimed background response, whose events it records under numbers of ours."""

    def __init__(self, background, recordings, claimed):
        self.background, self.recordings, self.claimed = background, recordings, claimed
        self.born = born(claimed, claimed.payload, "in_progress")
        self.number = len(BEGINNING)
        self.writer = recordings.writer(claimed.id, background.seconds, after=self.number)
        self.kept = None

    def join(self, turn):
        """Stand in for the stored responses: what is stored is decided with the job's end."""
        turn.stored = self

    def history(self, key, id):
        return self.background.stored.history(key, id)

    def put(self, key, found, added, previous=None, before=None):
        """Take a Response that has ended, and put right what an upstream says of it."""
        found.update({name: self.born[name] for name in OURS})
        self.kept = found, added, previous, before
        return True

    def add(self, block):
        """Record a block of events as a client of the call itself would get them."""
        for event in sse.parse(block):
            if event.type not in OTHERS and event.data.startswith(b"{"):
                self.record(event.type.decode(), orjson.loads(event.data))

    def record(self, kind, found):
        if isinstance(found.get("response"), dict):
            found["response"].update({name: self.born[name] for name in OURS})
        found.update(type=kind, sequence_number=self.number)
        self.number += 1
        self.writer.add(sse.encode(dump(found), kind.encode()), 1)

    def unfold(self, whole):
        """Record a whole answer as the stream it amounts to, which only `end` may write.

        No answer to the job is known to have begun, so that it may be another worker's by now.
        """
        self.writer.held = True
        self.record(RUNNING, {"response": self.born})
        for kind, found in unfold(whole["output"]):
            self.record(kind, dict(found))

    def end(self, claimed, found):
        """Write what has come, and return what writes the end: a function of a connection.

        `found` is an Ended, a Back, or None where the job is no longer ours. Raises
        DependencyUnavailable; what has come stays, to be written later.
        """
        if not isinstance(found, ends.Ended):
            self.writer.drop()
            if found is None:
                self.recordings.forget(claimed.id)
            return nothing
        whole = None if found.body is None else orjson.loads(found.body)
        if whole is not None and self.number == len(BEGINNING):
            self.unfold(whole)
        if self.writer.pending and not self.writer.flush_now(self.ours):
            self.writer.drop()
            return nothing
        return self.ending(found, whole)

    def ours(self, connection):
        """Tell whether the job is still ours, and note that an answer to it has come.

        Whoever was given the job writes the same recording; from now on nobody else is.
        """
        return rows.count(connection, sql.ANSWERED, held(self.claimed)) == 1

    def ending(self, found, whole):
        payload = self.claimed.payload
        previous = payload.get("previous_response_id")
        kept = self.kept or (self.born, turns.asked(payload), previous, None)
        ended = last(whole or kept[0], found.status, found.error)
        return self.background.ending(self.claimed.key, ended, *kept[1:])
