"""Calls that each carry a canary of their own, by every way that a call can end."""

import json
import os
import subprocess
import sys
import threading
import time

from gateway import idempotency, mock, recordings
from gateway.config.shape import Settings
from gateway.jobs.store import Jobs
from gateway.jobs.sweep import Sweep
from gateway.stored import Stored
from tests.live.raw import request
from tests.live.twice import wait_for
from tests.serving import KEY, ROOT

CANARY = b"CANARY"
WRONG = "sk-CANARYwrong1-" + "c" * 43
UPSTREAM_KEY = b"sk-upstream-secret"
KEEPING = {"responses", "jobs", "recordings"}  # the tables that may hold what clients said
COMMAND = [sys.executable, "-m", "gunicorn", "tests.live.crashing:app"]
TOLD = "Traceback for CANARY-upstream sk-upstream-secret"


class Trail:
    """Makes calls that each carry a canary of their own."""

    def __init__(self, site, secret):
        self.site, self.secret = site, secret

    def ask(self, name, status, model="gpt-test", secret=None, headers=None, **fields):
        """Make a call and return its Answer, which has to have this status."""
        said = f"CANARY-{name}"
        if fields.get("endpoint") != "embeddings":
            fields.setdefault("metadata", {"note": f"{said}-metadata"})
        found = self.site.ask(
            model,
            headers={"Authorization": f"Bearer {secret or self.secret}", **(headers or {})},
            text=said,
            user=f"{said}-user",
            **fields,
        )
        assert found.status == status, (name, found.body)
        return found

    def get(self, path):
        data = request(f"GET {path} HTTP/1.1", auth=f"Authorization: Bearer {self.secret}\r\n")
        with self.site.connected(data) as sock:
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def wait_end(self, path):
        wait_for(lambda: not {b'"queued"', b'"in_progress"'} & set(words(self.get(path))))

    def fine(self):
        """Make the calls that end well; some of them are kept."""
        for stream in (False, True):
            self.ask("chat", 200, stream=stream)
            self.ask("fixed", 200, secret=KEY, stream=stream)
            made = self.ask("response", 200, endpoint="responses", stream=stream)
            response = made.events[-2]["response"] if stream else made.json
            previous = {"previous_response_id": response["id"]}
            self.ask("turn", 200, endpoint="responses", stream=stream, **previous)
            for _ in range(2):
                once = {"Idempotency-Key": f"once-{stream}"}
                self.ask("once", 200, headers=once, stream=stream)
        self.ask("embedding", 200, endpoint="embeddings")

    def zero(self):
        """Make calls whose texts hold a zero byte, which PostgreSQL's texts cannot."""
        said = "CANARY-zero\0behind"
        more = {"user": said, "metadata": {"note": said}}
        for stream in (False, True):
            assert self.site_ask(said, stream=stream, **more).status == 200
            made = self.site_ask(said, endpoint="responses", stream=stream, **more)
            response = made.events[-2]["response"] if stream else made.json
            found = self.json(f"/v1/responses/{response['id']}")
            assert (found["metadata"], found["user"]) == (more["metadata"], said)
            items = self.json(f"/v1/responses/{response['id']}/input_items")["data"]
            assert items[0]["content"][0]["text"] == said
        made = self.site_ask(said, headers={"Prefer": "respond-async"}, **more).json
        self.wait_end(f"/v1/jobs/{made['id']}")
        found = self.json(f"/v1/jobs/{made['id']}")
        assert (found["status"], found["metadata"]) == ("completed", more["metadata"])
        assert found["result"]["body"]["choices"][0]["message"]["content"] == said
        made = self.site_ask(said, endpoint="responses", background=True, **more).json
        self.wait_end(f"/v1/responses/{made['id']}")
        assert self.json(f"/v1/responses/{made['id']}")["output"][0]["content"][0]["text"] == said
        for model in ("a\0b", said):
            assert self.site_ask("x", model=model).error["code"] == "model_not_found"

    def site_ask(self, said, headers=(), **fields):
        headers = {"Authorization": f"Bearer {self.secret}", **dict(headers)}
        return self.site.ask(headers=headers, text=said, **fields)

    def json(self, path):
        return json.loads(self.get(path).partition(b"\r\n\r\n")[2])

    def later(self):
        """Make the calls that are answered later, two of which fail."""
        later = {"Prefer": "respond-async"}
        for model in ("gpt-test", "mock-500", "mock-cut-after-3"):
            made = self.ask("job", 202, model, headers=later)
            self.wait_end(f"/v1/jobs/{made.json['id']}")
            made = self.ask("background", 200, model, endpoint="responses", background=True)
            self.wait_end(f"/v1/responses/{made.json['id']}")

    def refused(self):
        """Make the calls whose error may hold nothing of what was sent; return the Answers."""
        yield self.ask("wrong", 401, secret=WRONG)
        yield self.ask("unknown", 404, "nope")
        self.site.upstream.enqueue(mock.error(500, TOLD))
        yield self.ask("failing", 502)
        self.site.upstream.enqueue(mock.error(401, TOLD))
        yield self.ask("unpaid", 502)
        self.site.upstream.enqueue(mock.error(400, "no", param="a\0b", code="zero\0code"))
        self.zero_code = self.ask("coded", 400)
        yield self.ask("timeout", 504, "mock-hang")
        yield self.ask("crash", 500, headers={"X-Crash": "1"})

    def broken(self):
        """Make the calls that are wrong in ways that their error may quote, or that break off."""
        self.ask("role", 400, messages=[{"role": "CANARY-role", "content": "x"}])
        self.ask("field", 400, temperature="CANARY-field", **{"CANARY-name": 1})
        for data in (b'{"model": "gpt-test", "messages": ["CANARY-json', b"\xff CANARY-bytes"):
            head = self.site.raw_head(length=len(data), Connection="close")
            with self.site.connected(head + data) as sock:
                assert b" 400 " in sock.recv(65536)
        with self.site.connected(
            request(f"GET /v1/models?key={self.secret}&q=CANARY-query HTTP/1.1", auth="")
        ) as sock:
            assert b" 401 " in sock.recv(65536)
        for model in ("mock-cut-after-3", "mock-error-after-3", "mock-bad-json-after-3"):
            self.ask("cut", 200, model, stream=True)
        with self.site.asking("mock-slow-100", stream=True, text="CANARY-left") as (response, _):
            response.read(10)


def words(data):
    return data.replace(b",", b" ").replace(b":", b" ").replace(b"}", b" ").split()


def sweep(database):
    """Do what the sweeps of a running gateway do, as they would in three days."""
    stop, settings = threading.Event(), Settings()

    def clock():
        return time.time() + 3 * 86400

    Sweep(Jobs(database, settings.jobs, clock), [recordings.Recordings(database).remove]).sweep(
        stop
    )
    Stored(database, settings.responses.retention_hours, clock).sweep(stop)
    idempotency.Sweep(database, clock).sweep(stop)
    recordings.Sweep(database, clock).sweep(stop)


def doctored(site):
    """Return what `gateway doctor`, `jobs list` and `usage` print."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(site.gateway.config),
        "GATEWAY_API_KEYS": KEY,
        "PYTHONPATH": str(ROOT),
        **site.gateway.environ,
    }
    found = b""
    for words in (["doctor"], ["jobs", "list"], ["usage"], ["keys", "list"], ["models"]):
        command = [sys.executable, "-m", "gateway.cli", *words]
        done = subprocess.run(command, env=environ, capture_output=True, timeout=60)
        assert done.stdout, done.stderr
        found += done.stdout + done.stderr
    return found
