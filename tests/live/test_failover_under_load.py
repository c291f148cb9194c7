"""Routing while much goes on: upstreams that are killed and restarted, and an outage of all."""

import itertools
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.serving import ROOT, free_port

pytestmark = pytest.mark.live

MORE = """
[[upstream]]
name = "one"
base_url = "http://127.0.0.1:$ONE/v1"

[[upstream]]
name = "two"
base_url = "http://127.0.0.1:$TWO/v1"

[[model]]
id = "pair-*"
upstreams = [{ name = "one", model = "mock-*" }, { name = "two", model = "mock-*" }]

[[upstream]]
name = "left"
base_url = "$URL"

[[upstream]]
name = "right"
base_url = "$URL"

[[model]]
id = "all-*"
upstreams = [{ name = "left", model = "mock-*" }, { name = "right", model = "mock-*" }]
"""


class Process:
    """`gateway mock` in a process of its own that can be killed and started again."""

    def __init__(self, port):
        self.port, self.process = port, None
        self.start()

    def start(self):
        code = f"from gateway.mock import main; main({self.port})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline, "the upstream did not start"
                time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Load:
    """Calls at a steady pace, each in a thread of its own."""

    def __init__(self, a_second, call):
        self.pace, self.call = 1 / a_second, call
        self.answers, self.threads = [], []
        self.stopping = threading.Event()
        self.clock = threading.Thread(target=self.run)

    def __enter__(self):
        self.clock.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.clock.join()
        for thread in self.threads:
            thread.join()

    def run(self):
        due = time.monotonic()
        for number in itertools.count():
            thread = threading.Thread(target=self.ask, args=(number,))
            self.threads.append(thread)
            thread.start()
            due += self.pace
            if self.stopping.wait(max(due - time.monotonic(), 0)):
                return

    def ask(self, number):
        self.answers.append(self.call(number))


@pytest.fixture(scope="module")
def pair():
    found = [Process(free_port()), Process(free_port())]
    yield found
    for upstream in found:
        upstream.kill()


@pytest.fixture(scope="module")
def site(open_site, pair):
    more = MORE.replace("$ONE", str(pair[0].port)).replace("$TWO", str(pair[1].port))
    return open_site(more=more)


def call(site, number):
    """Make a whole or a streamed call; the upstream sends either in a single write."""
    stream = number % 2 == 1
    model = "pair-split-9999" if stream else "pair-late-50"
    return stream, site.ask(model, stream=stream, text=f"call {number}")


def assert_all_well(load):
    for stream, answer in load.answers:
        assert answer.status == 200, answer.body
        assert answer.text.startswith("call "), answer.body
        assert not stream or answer.events[-1] == "[DONE]"


def test_killed_and_restarted_upstream_fails_no_call(site, pair):
    with Load(20, lambda number: call(site, number)) as load:
        time.sleep(1)
        pair[0].kill()
        time.sleep(2)
        pair[0].start()
        time.sleep(2)
    assert len(load.answers) > 70
    assert_all_well(load)
    by = [answer.headers["x-gateway-upstream"] for _, answer in load.answers]
    tried = [answer.headers.get("x-gateway-attempts") for _, answer in load.answers]
    assert by.count("one") > 3 and "two" in by
    assert "one:connect,two:200" in tried


def test_upstreams_restarted_one_after_the_other_fail_no_call(site, pair):
    with Load(20, lambda number: call(site, number)) as load:
        for upstream in (pair[1], pair[0]):
            time.sleep(0.5)
            upstream.kill()
            time.sleep(0.5)
            upstream.start()
    assert_all_well(load)


def test_outage_is_not_multiplied(site):
    seen = site.upstream.received
    with Load(50, lambda number: site.ask("all-500", stream=number % 2 == 1)) as load:
        time.sleep(3)
    assert len(load.answers) > 100
    assert {answer.status for answer in load.answers} == {502}
    assert site.upstream.received - seen <= 1.2 * len(load.answers) + 3
    site.nothing_in_flight()
    site.next_request_is_fine()
