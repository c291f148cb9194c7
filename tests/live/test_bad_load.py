"""Bodies made to keep a worker busy, beside another client's stream, which must not notice.

The scripted upstream gives the stream an event every 20 ms. The machine's own hiccups are known by
a control: the same stream beside a small body.
"""

import json
import threading
import time
from contextlib import closing

import pytest

from tests.live.persistent import Persistent
from tests.live.raw import chat, connected, pieces, post

pytestmark = pytest.mark.live

GAP = 0.25  # seconds
TRIES = 3  # what a busy machine does once it won't do every time; what a body does it will
PIECES = 250_000  # commas and opening brackets that a body may hold


def around(fields, endpoint="chat"):
    start = b'{"model": "gpt-test", "messages": [{"role": "user", "content": "x"}], '
    return start + fields + b"}"


def many(item, count):
    return b",".join([item] * count)


def keys(count, value=b"1"):
    return b",".join(b'"%d":%s' % (number, value) for number in range(count))


DEEP = b'{"a":' * 150 + b"1" + b"}" * 150
TOOL = b'{"type":"function","function":{"name":"f","parameters":{}}}'
EMBEDDINGS = "/v1/embeddings"
# A body and the status it gets; those with PIECES hold as much as is allowed.
POISON = {
    "500 k empty messages": (b'{"model":"gpt-test","messages":[%s]}' % many(b"{}", 500_000), 400),
    "most empty messages": (
        b'{"model":"gpt-test","messages":[%s]}' % many(b"{}", PIECES // 2 - 9), 400,
    ),
    "most good messages": (
        b'{"model":"nope","messages":[%s]}' % many(b'{"role":"user","content":"x"}', 80_000), 404,
    ),
    "1 M integers": (b'{"model":"gpt-test","messages":[%s]}' % many(b"1", 1_000_000), 400),
    "most integers": (b'{"model":"gpt-test","messages":[%s]}' % many(b"1", PIECES - 9), 400),
    "200 k unknown keys": (around(keys(200_000)) .replace(b"gpt-test", b"nope"), 404),
    "depth 400, 3,000 times": (
        around(b'"x":[%s]' % many(b'{"a":' * 400 + b"1" + b"}" * 400, 3000)), 400,
    ),
    "depth 150, 1,600 times": (around(b'"n":"x","x":[%s]' % many(DEEP, 1600)), 400),
    "a string of 10 MB": (around(b'"n":"x","x":"%s"' % (b"x" * 10_000_000)), 400),
    "a string of 3 MB of escapes": (around(b'"n":"x","x":"%s"' % (b"\\u00e9" * 500_000)), 400),
    "10 k tools": (around(b'"n":"x","tools":[%s]' % many(TOOL, 10_000)), 400),
    "1 M logit_bias": (around(b'"logit_bias":{%s}' % keys(1_000_000)), 400),
    "most logit_bias": (around(b'"n":"x","logit_bias":{%s}' % keys(PIECES - 99)), 400),
    "400 k digits": (around(b'"x":%s' % (b"7" * 400_000)), 400),
    "19 MB of white space": (around(b'"n":"x"').ljust(19_000_000), 400),
    "19 MB of commas": (b"," * 19_000_000, 400),
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(open_site):
    return open_site(timeouts="stream_total = 60\nidle = 10\nbody = 20\ntotal = 20").gateway


def largest_gap(port, work, least=0.5):
    """Return the longest wait between two events of a stream while `work()` was done."""
    moments, ready, done = [], threading.Event(), threading.Event()

    def read():
        with connected(port) as sock:
            data = post(chat("mock-endless-20", stream=True))
            sock.sendall(data.replace(b"Connection: close\r\n", b""))
            for moment, _ in pieces(sock):
                moments.append(moment)
                if len(moments) > 5:
                    ready.set()
                if done.is_set():
                    break

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(10)
    began = time.monotonic()
    work()
    ended = time.monotonic()
    time.sleep(max(0.1, least - (ended - began)))
    done.set()
    reader.join(10)
    seen = [moment for moment in moments if moment > began - 0.1]
    return max(after - before for before, after in zip(seen, seen[1:], strict=False))


def sender(port, body, status):
    def work():
        with closing(Persistent(port)) as client:
            reply = client.post(body)
        assert reply.status == status, reply.body[:300]
        assert json.loads(reply.body)["error"]["code"]

    return work


@pytest.mark.parametrize("name", POISON)
def test_stream_of_another_goes_on_while_a_body_is_refused(gateway, name):
    body, status = POISON[name]
    small = sender(gateway.port, b"{}", 400)
    found = []
    for _ in range(TRIES):
        gap = largest_gap(gateway.port, sender(gateway.port, body, status))
        control = largest_gap(gateway.port, small)
        found.append((round(gap, 3), round(control, 3)))
        if gap <= GAP + max(control - 0.04, 0):
            break
    print(name, len(body), found)
    assert gap <= GAP + max(control - 0.04, 0), found
