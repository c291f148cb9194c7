"""How calls ended and which rows they left: as they may, explained by a kill, or wrong."""

import time

from bench.soak import deferred, kinds
from bench.soak import twice as sent

DYING = 0.5  # seconds in which a killed process may still hold its sockets
AT_KILL = 2.0  # seconds in which a client sees that its connection has gone with its process
UNWRITTEN = 1.0  # seconds of rows of usage that a killed process may lose

DEFERRED = (deferred.job, deferred.background, deferred.background_streamed)
REPEATED = (sent.whole_twice, sent.streamed_twice)


class Ends:
    """What became of the calls: allowed, explained by a kill, or wrong."""

    def __init__(self, calls, kills):
        self.calls, self.kills = calls, kills
        self.explained, self.wrong = 0, []
        for call in calls:
            self.judge(call)

    def judge(self, call):
        named = f"call {call.number} ({call.kind.name})"
        self.wrong += [f"{named}: {note}" for note in call.notes]
        for began, ended, what in call.broken:
            if not any(began - DYING <= kill <= ended <= kill + AT_KILL for kill in self.kills):
                self.wrong.append(f"{named}: broke without a kill: {what}")
        if call.outcome in call.kind.ends:
            return
        if self.lost(call):
            self.explained += 1
        else:
            self.wrong.append(f"{named}: {call.outcome}, after {call.ended - call.began:.1f} s")

    def lost(self, call):
        """Tell whether a kill is why a call ended as it did."""
        if call.outcome == "broken":
            return bool(call.broken)  # each of which has been judged
        if not (repeated(call) or outlives(call)):
            return False
        words = ("worker_lost", "failed server_error", "differ", "replays", "broken")
        said = any(word in call.outcome for word in words)
        return said and any(call.began - 1 <= kill <= call.ended for kill in self.kills)


class Rows:
    """Compares the rows of usage with the upstream's book."""

    def __init__(self, calls, books, kills):
        self.books, self.kills = books, kills
        self.wrong, self.lost, self.wanted = [], 0, 0
        for call in calls:
            self.compare(call)
        for row in books.of_call.get(None, []):
            if not self.unsigned(row):
                self.wrong.append(f"nobody's row: {row}"[:300])

    def compare(self, call):
        asked, rows = self.books.asked[call.number], self.books.of_call[call.number]
        wanted = self.due(call, asked)
        self.wanted += wanted
        named = f"call {call.number} ({call.kind.name}, {call.outcome})"
        if len(rows) > wanted:
            self.wrong.append(f"{named}: {len(rows)} rows instead of {wanted}")
        missing = max(wanted - len(rows), 0)
        # What was refused has asked no upstream; its row may have been lost all the same.
        gone = sum(self.killed(call, *times) for times in asked or [(call.began, None, None)])
        if missing and (missing > gone or outlives(call)):
            kill = max((at for at in self.kills if at <= call.ended + UNWRITTEN), default=None)
            times = f"asked {asked}, the last kill {kill}"
            self.wrong.append(f"{named}: {len(rows)} rows instead of {wanted}, {times}")
        elif missing:
            self.lost += missing
        if len(rows) == wanted == 1:
            self.read(call, rows[0], named)

    def unsigned(self, row):
        """Tell whether a kill may have taken the log line that says whose row this is."""
        at = row["created_at"] - (time.time() - time.monotonic())
        return any(at - DYING <= kill <= at + UNWRITTEN for kill in self.kills)

    def due(self, call, asked):
        """Return how many rows a call should have left."""
        if outlives(call):
            # One that was cancelled when it had just been taken has a row and has asked nobody.
            ran = asked or (call.outcome == "cancelled" and self.books.of_call[call.number])
            return int(bool(ran))
        refused = call.kind.ends.get(call.outcome) is not kinds.NO_ROW and not asked
        if not call.kind.once:
            return int(bool(asked) or refused)
        return len(asked) or int(refused and call.outcome in call.kind.ends)

    def killed(self, call, asked, begun, over):
        """Tell whether a kill may have taken the row of an upstream's call.

        A call whose connection broke may have asked when the kill was already on its way.
        """
        since = asked - DYING if call.broken else asked
        over = max(over or call.ended, call.ended)
        return any(since <= kill <= over + UNWRITTEN for kill in self.kills)

    def read(self, call, row, named):
        wanted = call.kind.ends.get(call.outcome)
        if wanted is not None and row["end"] != wanted:
            self.wrong.append(f"{named}: its row says {row['end']}, {row['code']}")
        if row["usage_source"] == "upstream" and call.words:
            said = call.words if row["endpoint"] != "embeddings" else row["output_tokens"]
            if (row["input_tokens"], row["output_tokens"]) != (call.words, said):
                counts = row["input_tokens"], row["output_tokens"]
                self.wrong.append(f"{named}: {counts} tokens instead of {call.words}")


def outlives(call):
    return function(call) in DEFERRED


def repeated(call):
    return function(call) in REPEATED


def function(call):
    return getattr(call.kind.run, "func", call.kind.run)
