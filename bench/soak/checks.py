"""What has to be true at the end; each check says what it saw, and is wrong with a list of why."""

import collections
from typing import NamedTuple

from bench import stats
from bench.soak import deferred, place
from bench.soak.explained import Rows, outlives, repeated

COMMITTED = 1.0  # seconds by which a job's first event is on disk
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
    """Descriptors do not grow, and are no more when all is over than the most under load."""
    fitted = [line for line in lines if line["alive"] and line["fds_slope"] is not None]
    name = "descriptors stay as many"
    if not fitted:
        return Check(name, None, "the run was too short to say")
    faults = []
    for line in fitted:
        idle_now = last.get(line["pid"], {"fds": 0})["fds"]
        if line["fds_slope"] > MORE_FDS or idle_now > line["most_fds"]:
            faults.append(f"{line['role']}: {line['fds_slope']:+.1f} a minute, {idle_now} at rest")
    each = ", ".join(f"{x['role']} {x['fds']} ({x['fds_slope']:+.1f} a minute)" for x in fitted)
    return made(name, faults, each)


def aside(found):
    counts = collections.Counter(step["what"] for step in found.done)
    saw = ", ".join(f"{count} × {what}" for what, count in counts.items())
    return made("operations succeed meanwhile", found.faults, saw)
