"""What has to be true at the end; each check says what it saw, and is wrong with a list of why."""

import collections
import time
from typing import NamedTuple

from bench import stats
from bench.soak import deferred, kinds, place
from bench.soak import twice as sent

DYING = 0.5  # seconds in which a killed process may still hold its sockets
AT_KILL = 2.0  # seconds in which a client sees that its connection has gone with its process
UNWRITTEN = 1.0  # seconds of rows of usage that a killed process may lose
COMMITTED = 1.0  # seconds by which a job's first event is on disk
LOST = 60.0  # seconds after a kill in which a lost job or name is found
CLOSED = 3.0  # seconds in which the upstream's call of a client that left is closed
MOST = 12  # faults that are listed of one check
MIGRATED = "The database is up to date."  # said by the migrations, which are a command
GROWTH = 1_000_000  # bytes a minute, of all processes
MORE_FDS = 5  # descriptors a minute, of one process


class Check(NamedTuple):
    """`ok` is None for what this run could not look at; `faults` says what is wrong."""

    name: str
    ok: bool | None
    saw: str
    faults: list = []


def made(name, faults, saw):
    more = [f"… and {len(faults) - MOST} more"] if len(faults) > MOST else []
    return Check(name, not faults, saw, [*faults[:MOST], *more])


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


DEFERRED = (deferred.job, deferred.background, deferred.background_streamed)


REPEATED = (sent.whole_twice, sent.streamed_twice)


def outlives(call):
    return function(call) in DEFERRED


def repeated(call):
    return function(call) in REPEATED


def function(call):
    return getattr(call.kind.run, "func", call.kind.run)


def lives(web):
    faults = [f"gunicorn has ended by itself:\n{web.words()}"] if web.ended else []
    return made("the gateway runs to the end", faults, "no" if faults else "yes")


def ends(found):
    saw = f"{len(found.calls):,} calls, {found.explained} of them ended by a kill"
    return made("every call ended as its kind may", found.wrong, saw)


def log(books):
    faults = [f"no JSON: {line[:200]}" for line in books.odd if line != MIGRATED]
    for line in books.lines:
        if line.get("status") == 500 or "exception" in line or "Traceback" in str(line):
            faults.append(str(line)[:600])
        elif line["level"] in ("error", "critical") and "status" not in line:
            if "SIGKILL" not in line["message"]:
                faults.append(str(line)[:600])
    return made("no 500 and no traceback in the log", faults, f"{len(books.lines):,} lines")


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
            self.wrong.append(f"{named}: {len(rows)} rows instead of {wanted}, asked {asked}")
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
        """Tell whether a kill may have taken the row of an upstream's call."""
        over = max(over or call.ended, call.ended)
        return any(asked <= kill <= over + UNWRITTEN for kill in self.kills)

    def read(self, call, row, named):
        wanted = call.kind.ends.get(call.outcome)
        if wanted is not None and row["end"] != wanted:
            self.wrong.append(f"{named}: its row says {row['end']}, {row['code']}")
        if row["usage_source"] == "upstream" and call.words:
            said = call.words if row["endpoint"] != "embeddings" else row["output_tokens"]
            if (row["input_tokens"], row["output_tokens"]) != (call.words, said):
                counts = row["input_tokens"], row["output_tokens"]
                self.wrong.append(f"{named}: {counts} tokens instead of {call.words}")


def usage(calls, books, kills):
    found = Rows(calls, books, kills)
    saw = (
        f"{len(books.rows):,} rows of {found.wanted:,} exchanges; "
        f"{found.lost} lost with what a killed process had in hand"
    )
    return made("one row of usage for each exchange", found.wrong, saw)


def money(books, keys):
    spent = sum(row["cost"] or 0 for row in books.rows.values() if row["key"] == keys["budget"][0])
    faults = [f"{spent} nano-USD of {place.BUDGET}"] if spent > place.BUDGET else []
    return made("a budget is not passed", faults, f"{spent / place.BUDGET:.0%} of it spent")


def jobs(calls, books, kills):
    """Every job has ended, as its client was told, and none was made again once it had begun."""
    known = {id: (call, heard) for call in calls for id, heard in call.jobs.items()}
    faults = []
    for id, job in books.jobs.items():
        call, heard = known.get(id, (None, None))
        if job["status"] not in deferred.ENDED:
            faults.append(f"{id} is {job['status']}")
        elif heard in deferred.ENDED and heard != job["status"]:
            faults.append(f"{id} was {heard} and became {job['status']}")
    again = 0
    for call in filter(outlives, calls):
        asked = sorted(books.asked[call.number])
        again += len(asked) > 1
        faults += twice(call, asked, kills) if call.kind.once else []
    counts = collections.Counter(job["status"] for job in books.jobs.values())
    lost = [id for id in known if id not in books.jobs]
    faults += [f"{id} is not in the database" for id in lost]
    saw = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    return made("jobs end, once", faults, f"{saw}; {again} were made again after a kill")


def twice(call, asked, kills):
    """Yield what is wrong with the calls to the upstream that one job made."""
    for times, later in zip(asked, asked[1:], strict=False):
        begun = times[1]
        if begun is None or begun > later[0]:
            continue
        if not any(begun - 0.2 <= kill <= begun + COMMITTED for kill in kills):
            late = later[0] - begun
            yield f"call {call.number} was made again {late:.1f} s after its answer began"


def recordings(calls, books, kills):
    """Recordings have an end and names no owner, but for those of calls that a kill took."""
    faults = [f"{id} is a job's and has no end" for id in books.unended if id in books.jobs]
    taken = sum(
        repeated(call) and any(call.began <= kill <= call.ended for kill in kills) for call in calls
    )
    for what, count in (("have no end", len(books.unended)), ("hold a name", books.held_names)):
        if count > taken:
            faults.append(f"{count} {what}, and a kill took {taken}")
    saw = f"{len(books.unended)} without an end, {books.held_names} names held; a kill took {taken}"
    return made("recordings end", faults, saw)


def leavers(calls, books):
    took, faults = [], []
    for call in calls:
        if call.left is None:
            continue
        for _, _, over in books.asked[call.number]:
            took.append((over or float("inf")) - call.left)
            if took[-1] > CLOSED:
                faults.append(f"call {call.number} ({call.kind.name}): after {took[-1]:.1f} s")
    saw = f"{len(took):,}, the slowest after {max(took):.2f} s" if took else "none"
    return made("the upstream's call ends when its client leaves", faults, saw)


def probes(found, path, kills):
    faults, slow = [], [seconds for _, seconds, status in found if status == 200]
    for when, seconds, status in found:
        if status != 200 and not any(when <= kill <= when + seconds + 0.1 for kill in kills):
            faults.append(f"{status} after {seconds:.2f} s")
    p50, most = (stats.percentile(slow, share) if slow else 0 for share in (0.5, 1))
    saw = f"{len(found)} probes, p50 {p50 * 1000:.0f} ms, the slowest {most * 1000:.0f} ms"
    return made(f"{path} answers 200", faults, saw)


def idle(metrics, books, slots):
    """Nothing is held any more when all has ended."""
    names = (
        "gateway_in_flight",
        "gateway_usage_spooled",
        "gateway_usage_dropped_total",
        "gateway_log_lines_dropped_total",
        "gateway_limits_alone",
        "gateway_database_away",
        'gateway_jobs{status="queued"}',
        'gateway_jobs{status="in_progress"}',
    )
    values = {name: metrics.get(name, 0.0) for name in names}
    faults = [f"{name} is {value:g}" for name, value in values.items() if value]
    faults += [f"{books.spooled} bytes are in the spool"] if books.spooled else []
    faults += [f"a slot of the limited key: {said}" for said in slots if said != "done"]
    saw = f"in flight {values['gateway_in_flight']:g}, spool empty, {len(slots)} slots free"
    return made("nothing is held at the end", faults, saw)


def memory(lines):
    """The processes that were there at the end grow by less than GROWTH a minute in all."""
    fitted = [line for line in lines if line["alive"] and line["anon_slope"] is not None]
    name = f"memory grows by less than {GROWTH / 1e6:g} MB a minute"
    if not fitted:
        return Check(name, None, "the run was too short to say")
    total = sum(line["anon_slope"] for line in fitted)
    each = ", ".join(f"{line['role']} {line['anon_slope'] / 1e6:+.2f}" for line in fitted)
    saw = f"{total / 1e6:+.2f} MB a minute ({each})"
    return made(name, [saw] if total > GROWTH else [], saw)


def descriptors(lines, last):
    """Descriptors do not grow, and are no more when all is over than they were under load."""
    fitted = [line for line in lines if line["alive"] and line["fds_slope"] is not None]
    name = "descriptors stay as many"
    if not fitted:
        return Check(name, None, "the run was too short to say")
    faults = []
    for line in fitted:
        idle_now = last.get(line["pid"], {"fds": 0})["fds"]
        if line["fds_slope"] > MORE_FDS or idle_now > line["fds"]:
            faults.append(f"{line['role']}: {line['fds_slope']:+.1f} a minute, {idle_now} at rest")
    each = ", ".join(f"{x['role']} {x['fds']} ({x['fds_slope']:+.1f} a minute)" for x in fitted)
    return made(name, faults, each)


def aside(found):
    counts = collections.Counter(step["what"] for step in found.done)
    saw = ", ".join(f"{count} × {what}" for what, count in counts.items())
    return made("operations succeed meanwhile", found.faults, saw)
