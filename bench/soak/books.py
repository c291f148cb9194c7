"""What was written down of the calls: by the upstream, in the log and in the database."""

import collections
import json
import re
import sqlite3
from contextlib import closing

from bench.systems.base import ROOT

NAMED = re.compile(r"soak-(\d+)")
OPEN_RECORDINGS = 'select id from recordings group by id having count("end") = 0'
HELD_NAMES = "select count(*) from idempotency where owner is not null"


class Books:
    """Read once, when all is over.

    `asked` is {call: [(asked, begun, over)]}, `rows` the rows of usage by request id, `jobs` those
    of jobs by id, `unended` recordings without an end, `held_names` how many Idempotency-Keys have
    an owner, `owner` {request id: call}, `lines` the log's JSON, `odd` its other lines.
    """

    def __init__(self, folder, book, calls):
        self.folder = folder
        self.asked = collections.defaultdict(list)
        for number, *times in book:
            self.asked[number].append(tuple(times))
        self.lines, self.odd = [], []
        for name in ("gateway.log", "worker.log"):
            self.read_log(folder / name)
        self.read_database(folder / "gateway.db")
        self.owner = self.owners(calls)
        self.of_call = collections.defaultdict(list)
        for request_id, row in self.rows.items():
            self.of_call[self.owner.get(request_id)].append(row)

    def read_log(self, path):
        text = path.read_text(errors="replace")
        for place in (self.folder, ROOT):  # what is published names no folder of this machine
            text = text.replace(f"{place}/", "")
        for line in text.splitlines():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.odd.append(line)

    def read_database(self, path):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            self.rows = {
                row["request_id"]: dict(row) for row in database.execute("select * from usage")
            }
            asked = "select id, status, request_id, metadata, attempts, error from jobs"
            self.jobs = {row["id"]: dict(row) for row in database.execute(asked)}
            self.unended = [row["id"] for row in database.execute(OPEN_RECORDINGS)]
            self.held_names = database.execute(HELD_NAMES).fetchone()[0]

    def owners(self, calls):
        """Return whose request each was, by what the client heard, the log, and jobs' metadata."""
        found = {request_id: call.number for call in calls for request_id in call.ids}
        for line in self.lines:
            named = NAMED.fullmatch(line.get("client_request_id") or "")
            if named:
                found[line["request_id"]] = int(named[1])
        for job in self.jobs.values():
            number = json.loads(job["metadata"] or "{}").get("soak")
            if number is not None:
                found[job["request_id"]] = int(number)
        return found

    @property
    def spooled(self):
        folder = self.folder / "spool"
        return sum(path.stat().st_size for path in folder.glob("*.jsonl")) if folder.exists() else 0
