"""Kinds of calls that are sent more than once under one Idempotency-Key."""

import random
import threading
import time
import uuid

from bench.soak.calls import CHAT, body_of
from bench.soak.client import Answer, Broken

TRIES = 8  # after a kill; a name is free again when the lease of its owner has run out
REST = 5.0


def whole_twice(call, site, path=CHAT, model="mock-late-200"):
    """Send one call from two clients at once, and once more afterwards."""
    body, name = body_of(path, model, call.text(8)), {"Idempotency-Key": str(uuid.uuid4())}

    def send():
        return insist(lambda: site.client.post(call, path, body, headers=name))

    answers = [*at_once(send, 2), send()]
    replays = sum("idempotent-replayed" in found.headers for found in answers)
    return agreed([(found.said, found.body) for found in answers], replays)


def streamed_twice(call, site, model="mock-slow-20"):
    """Begin a stream and leave it; another client joins it, and one comes when it is over."""
    body = body_of(CHAT, model, call.text(24), stream=True)
    name = {"Idempotency-Key": str(uuid.uuid4())}

    def send(leave=None):
        with site.client.stream(call, CHAT, body, headers=name) as stream:
            if isinstance(stream, Answer):
                return stream.said, stream.body
            for _ in range(leave or 0):
                stream.next()
            if leave:
                stream.connection.close()
                return None
            return stream.rest(), b"\n".join(stream.raw)

    try:
        send(leave=random.randint(1, 8))
    except Broken:
        time.sleep(0.1)
    return agreed([insist(send), insist(send)])


def insist(send):
    """Send until there is an answer: killed processes give their calls up."""
    for left in range(TRIES, -1, -1):
        try:
            answer = send()
        except Broken:
            if not left:
                raise
            time.sleep(REST / 10)
            continue
        said = answer.said if isinstance(answer, Answer) else answer[0]
        if "worker_lost" not in said or not left:
            return answer
        time.sleep(REST / 10)


def at_once(send, count):
    """Send from some clients at the same time. Raises Broken if one of them breaks for good."""
    found, broken = [], []

    def one():
        try:
            found.append(send())
        except Broken as exc:
            broken.append(exc)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return found


def agreed(answers, replays=None):
    """Return what all were answered; `replays` is how many said that they are one."""
    if len({found for found in answers}) > 1:
        return "differ: " + ", ".join(sorted({said for said, _ in answers}))
    if replays is not None and replays != len(answers) - 1:
        return f"{replays} replays"
    return answers[0][0]
