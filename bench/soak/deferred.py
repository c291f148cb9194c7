"""Kinds of calls that outlive their request: jobs, and background responses."""

import json
import random
import time

from bench.soak.calls import CHAT, RESPONSES, body_of
from bench.soak.client import Answer, Broken

ENDED = ("completed", "failed", "cancelled", "incomplete", "expired")
PATIENCE = 120  # seconds; a killed worker's job is found within 40
ASYNC = {"Prefer": "respond-async"}
REST = 0.3  # seconds before what broke is asked for again


def job(call, site, path=CHAT, model="mock-slow-30", words=12, cancel=False):
    """Make a job, maybe cancel it, and ask for it until it has ended."""
    body = body_of(path, model, call.text(words), metadata={"soak": str(call.number)})
    made = site.client.post(call, path, body, headers=ASYNC)
    if made.status != 202:
        return made.said
    id = made.json["id"]
    return followed(call, site, f"/v1/jobs/{id}", id, cancel)


def background(call, site, model="mock-slow-30", cancel=False):
    """Make a background response and ask for it until it has ended."""
    made = site.client.post(call, RESPONSES, response(call, model))
    if made.status != 200:
        return made.said
    id = made.json["id"]
    return followed(call, site, f"/v1/responses/{id}", id, cancel)


def response(call, model, words=16, **more):
    metadata = {"soak": str(call.number)}
    text = call.text(words)
    return body_of(RESPONSES, model, text, background=True, metadata=metadata, **more)


def followed(call, site, path, id, cancel):
    """Return what a job ended as; what it says once it has ended may not change any more."""
    call.jobs[id] = "queued"
    if cancel:
        time.sleep(random.uniform(0, 0.5))
        heard(call, id, again(call, site, "POST", f"{path}/cancel"))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        wait = "?wait=10" if path.startswith("/v1/jobs") else ""
        answer = again(call, site, "GET", path + wait)
        if answer.status != 200:
            return f"asked after: {answer.said}"
        if heard(call, id, answer) in ENDED:
            return outcome(answer.json)
        time.sleep(0.05 if wait else REST)
    return "never ended"


def heard(call, id, answer):
    """Note the status of a job."""
    status = answer.json.get("status") if answer.status == 200 else None
    before = call.jobs[id]
    if before in ENDED and status != before:
        call.notes.append(f"{id} was {before} and became {status}")
    if status:
        call.jobs[id] = status
    return status


def again(call, site, method, path):
    """Ask, once more if the connection breaks: whether it may have is judged at the end."""
    for left in (3, 2, 1, 0):
        try:
            return site.client.ask(call, method, path)
        except Broken:
            if not left:
                raise
            time.sleep(REST)


def outcome(found):
    code = (found.get("error") or {}).get("code")
    return f"failed {code}" if found["status"] == "failed" else found["status"]


def background_streamed(call, site, model="mock-slow-50"):
    """Stream a background response, leave, and come back where it was left, a few times."""
    reader = Reader(call, site)
    body = response(call, model, 30, stream=True)
    ended = reader.read("POST", RESPONSES, body, leave=random.randint(3, 12))
    deadline = time.monotonic() + PATIENCE
    while ended is None and reader.id and time.monotonic() < deadline:
        time.sleep(random.uniform(0, 0.5))
        leave = random.randint(5, 20) if random.random() < 0.5 else None
        after = "" if reader.last is None else f"&starting_after={reader.last}"
        path = f"{RESPONSES}/{reader.id}?stream=true{after}"
        ended = reader.read("GET", path, None, leave)
    return ended or ("never ended" if reader.id else "broken")


class Reader:
    """Reads the events of one response in parts; their numbers may have no gap."""

    def __init__(self, call, site):
        self.call, self.site = call, site
        self.id, self.last = None, None
        self.said = None  # how it ended, where the last event was read and [DONE] was not

    def read(self, method, path, body, leave):
        """Read some events, or all; return how the response ended, None if it goes on."""
        try:
            with self.site.client.stream(self.call, path, body, method) as stream:
                if isinstance(stream, Answer):
                    return stream.said
                return self.take(stream, leave)
        except Broken:
            return None

    def take(self, stream, leave):
        while leave is None or leave > 0:
            data = stream.next()
            if data is None or data == b"[DONE]":
                return self.ended(stream)
            self.note(json.loads(data))
            leave = leave and leave - 1
        if not (stream.ending or "").startswith("error"):  # which only says to come back
            self.said = stream.ending
        stream.connection.close()
        return None

    def ended(self, stream):
        """Return how it ended; an error event without [DONE] says to come back."""
        ending = self.said or stream.ending or "cut"
        if ending.startswith("error"):
            return None
        found = {"done": "completed"}.get(ending, ending)
        self.call.jobs[self.id] = found.partition(" ")[0]
        return found

    def note(self, event):
        if event["type"] == "error":
            return
        number = event["sequence_number"]
        if number != (0 if self.last is None else self.last + 1):
            self.call.notes.append(f"event {number} came behind {self.last}")
        self.last = number
        if self.id is None:
            self.id = event["response"]["id"]
            self.call.jobs[self.id] = "queued"
