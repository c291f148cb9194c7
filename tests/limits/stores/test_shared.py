"""A shared store over a Redis that is stopped, killed, emptied, full, or something else."""

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.limits.stores import Away, fallback
from gateway.limits.stores.local import Local
from tests.redis_server import redis_server, require  # noqa: F401

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[3]
LONG = 10**6


@pytest.fixture
def another(redis_server):  # noqa: F811
    from gateway.limits.stores.shared import Shared

    made = []

    def make(url=redis_server.url):
        made.append(Shared(url, "t:"))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(another):
    return another()


@pytest.fixture
def fall_back(another, tmp_path):
    """Return a function that puts a shared store over a local one, with a clock in hand."""
    made = []

    def make(*url):
        clock = Clock()
        made.append(fallback.Fallback(another(*url), Local(tmp_path / "limits"), clock))
        return made[-1], clock

    yield make
    for store in made:
        store.local.close()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@contextlib.contextmanager
def answering(words):
    """A server that says the same to whatever it is asked; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(client):
        with client, contextlib.suppress(OSError):
            while client.recv(65536):
                client.sendall(words)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def keys(redis_server):  # noqa: F811
    """Every key, without those of heartbeats."""
    client = redis_server.client()
    try:
        return {key: client.pttl(key) for key in client.keys("*") if b"holder" not in key}
    finally:
        client.close()


def test_scripts_that_redis_forgot_are_sent_again(store, redis_server):  # noqa: F811
    for _ in range(3):
        taken = store.take("slots:x", 9, 1)
        for name in ("rpm:x", "tpm:x"):
            store.add(name, LONG, 1, store.hit(name, 9, LONG))
        store.seed("budget:x", 1, time.time() + 60)
        redis_server.say("SCRIPT", "FLUSH")
        store.settle("slots:x", taken, 1)
        store.beat()
        redis_server.say("SCRIPT", "FLUSH")
    assert store.look("rpm:x", 9, LONG).remaining == store.look("tpm:x", 9, LONG).remaining == 3
    assert store.take("slots:x", 9, 9, 1).amount == 6


def test_everything_expires(store, redis_server):  # noqa: F811
    store.hit("rpm:x", 9, 60)
    store.add("rpm:y", 60, 1)
    store.hit("tpm:x", 9, 60)
    store.add("tpm:y", 60, 1)
    store.take("slots:x", 9, 1)
    store.settle("budget:a", None, 1)
    store.seed("budget:b", 1, time.time() + 3600)
    store.seed("budget:c", 1, float("inf"))

    left = {key: ttl / 1000 for key, ttl in keys(redis_server).items()}
    day, week = 24 * 3600, 7 * 24 * 3600
    assert len(left) == 8 and min(left.values()) > 0
    assert left[b"t:account:budget:b"] <= 3600 and left[b"t:account:budget:c"] <= week
    assert left[b"t:account:budget:a"] <= day and left[b"t:account:slots:x"] <= day
    assert all(ttl <= 120 for key, ttl in left.items() if b"window" in key)


def test_process_whose_heartbeat_stopped_holds_nothing_until_it_comes_back(store, another):
    other = another()
    taken = store.take("slots:x", 4, 3)
    assert other.take("slots:x", 4, 2).amount == 0
    lose_heartbeat(store)
    lent = other.take("slots:x", 4, 2)
    assert lent.amount == 2

    store.beat()  # 3 and 2 are held of 4 now: none is lost, and no more is given.
    assert other.take("slots:x", 4, 1).amount == store.take("slots:x", 4, 1).amount == 0
    other.settle("slots:x", lent)
    assert other.take("slots:x", 4, 2, 1).amount == 1
    store.settle("slots:x", taken)
    assert store.take("slots:x", 4, 4, 1).amount == 3


def lose_heartbeat(store):
    import redis

    with redis.Redis(connection_pool=store.line.pool) as client:
        assert client.delete(store.beat_key(store.holder)) == 1


def test_settlement_after_the_heartbeat_stopped_only_adds_what_was_used(store, another):
    other = another()
    first, second = store.take("budget:x", 100, 30), store.take("budget:x", 100, 30)
    lose_heartbeat(store)
    lent = other.take("budget:x", 100, 90)
    assert lent.amount == 90

    store.settle("budget:x", first, 5)
    store.beat()
    other.settle("budget:x", lent)
    assert store.take("budget:x", 100, 100, 1)[:2] == (65, 0)
    store.settle("budget:x", second, 5)
    store.settle("budget:x", second)
    assert other.take("budget:x", 100, 100, 1).amount == 25


def test_take_after_the_heartbeat_stopped_counts_what_the_process_held(store):
    store.take("slots:x", 4, 3)
    lose_heartbeat(store)
    epoch = store.epoch
    assert store.take("slots:x", 4, 2).amount == 0
    assert store.take("slots:x", 4, 1).amount == 1
    assert store.epoch == epoch + 1


def test_what_is_given_back_within_the_millisecond_is_given_back(store):
    for number in range(300):
        store.add(f"tpm:{number}", LONG, -5, store.hit(f"tpm:{number}", 9, LONG, 5))
    assert {store.look(f"tpm:{number}", 9, LONG).remaining for number in range(300)} == {9}


def test_place_taken_while_another_call_failed_is_held_at_once(store, another, monkeypatch):
    take = store.take_some

    def meanwhile(*asked):
        found = take(*asked)
        store.doubt()
        return found

    monkeypatch.setattr(store, "take_some", meanwhile)
    taken, other = store.take("slots:x", 2, 1), another()
    assert other.take("slots:x", 2, 2).amount == 0
    store.settle("slots:x", taken)
    assert other.take("slots:x", 2, 2).amount == 2


def test_redis_that_lost_everything_learns_what_is_held(store, another, redis_server):  # noqa: F811
    store.take("slots:x", 4, 3)
    other = another()
    other.beat()
    redis_server.say("FLUSHALL")
    store.beat()
    assert other.take("slots:x", 4, 2).amount == 0 and other.take("slots:x", 4, 1).amount == 1


@pytest.mark.parametrize("first", ["take", "settle"])
def test_call_that_a_silent_redis_hears_later_takes_no_place(store, redis_server, first):  # noqa: F811
    held = store.take("slots:x", 9, 2)
    redis_server.silence()
    with pytest.raises(Away):
        if first == "take":
            store.take("slots:x", 9, 3)
        else:
            store.settle("slots:x", held)
    store.settle("slots:x", held)
    redis_server.wake()
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(Away):
            store.beat()
            break
        assert time.monotonic() < deadline
    assert store.take("slots:x", 9, 9, 1).amount == 9


def test_forked_child_is_another_holder(store):
    import os

    store.take("slots:x", 3, 2)
    child = os.fork()
    if child == 0:
        try:
            good = store.take("slots:x", 3, 1).amount == 1 and len(store.holds) == 1
            os._exit(7 if good else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.take("slots:x", 3, 1).amount == 0


def silent(server):
    server.silence()
    return server.wake


def killed(server):
    server.kill()
    return server.start


def replica(server):
    server.say("REPLICAOF", "127.0.0.1", "1")
    return lambda: server.say("REPLICAOF", "NO", "ONE")


def full(server):
    server.say("CONFIG", "SET", "maxmemory", "1")
    return lambda: server.say("CONFIG", "SET", "maxmemory", "0")


def paused(server):
    server.say("CLIENT", "PAUSE", "60000", "ALL")
    return lambda: (server.kill(), server.start())


def closed(server):
    server.say("CONFIG SET requirepass x\r\nCLIENT KILL TYPE normal")
    return lambda: (server.kill(), server.start())


@pytest.mark.parametrize("fault", [silent, killed, replica, full, paused, closed])
@pytest.mark.parametrize("first", ["hit", "take", "settle", "add", "seed", "beat"])
def test_machine_goes_on_alone_and_heals(redis_server, fall_back, fault, first, caplog):  # noqa: F811
    store, clock = fall_back()
    held = store.take("slots:x", 3, 2)
    assert store.hit("tpm:x", 10, LONG, 9).taken == 9 and not store.alone
    mend, began = fault(redis_server), time.monotonic()

    if first == "hit":
        assert store.hit("tpm:x", 10, LONG, 1)[:2] == (1, 9)
    elif first == "take":
        assert store.take("slots:y", 3, 2).amount == 2
    elif first == "settle":
        store.settle("slots:x", held, 1)
    elif first == "add":
        store.add("tpm:y", LONG, 1)
    elif first == "seed":
        store.seed("budget:x", 1, time.time() + 60)
    else:
        clock.now += 3
        store.tend()
    for _ in range(50):
        store.hit("rpm:x", 100, LONG)
    assert store.alone and time.monotonic() - began < 4
    assert store.local.look("rpm:x", 100, LONG).remaining == 50

    mend()
    deadline = time.monotonic() + 20
    while store.alone:
        clock.now += 1
        store.tend()
        assert time.monotonic() < deadline
    if first != "settle":
        assert store.take("slots:x", 3, 2).amount == 0
        store.settle("slots:x", held)
    # What was used in vain comes back with the next seed, or was heard after all.
    assert store.take("slots:x", 3, 3, 2).amount in ((2, 3) if first == "settle" else (3,))
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2


@pytest.mark.parametrize(
    "words",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-BUSY Redis is busy running a script.\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-ERR unknown command\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"*2\r\n+a\r\n+b\r\n",
        b"$-1\r\n",
    ],
)
@pytest.mark.parametrize("method", ["hit", "take", "settle", "seed", "add"])
def test_whatever_a_server_says_the_machine_goes_on(fall_back, words, method):
    with answering(words) as url:
        store, _ = fall_back(url)
        asked = {
            "hit": ("tpm:x", 5, LONG), "take": ("slots:x", 5, 5), "settle": ("slots:x", None, 1),
            "seed": ("budget:x", 1, 2), "add": ("tpm:x", LONG, 1),
        }  # fmt: skip
        found = getattr(store, method)(*asked[method])
        assert method != "hit" or found[:2] == (1, 4)
        assert method != "take" or found.amount == 5


def test_password_is_in_no_log(fall_back, caplog):
    store, _ = fall_back("redis://me:hunter2@127.0.0.1:1/0")
    store.hit("tpm:x", 5, LONG)
    assert store.alone and "hunter2" not in caplog.text


START = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent, redis
from gateway.limits.stores import fallback
from gateway.limits.stores.local import Local
from gateway.limits.stores.line import SOCKETS
from gateway.limits.stores.shared import Shared
import logging
logging.disable()
store = fallback.Fallback(Shared(sys.argv[1], "g:"), Local(sys.argv[2]))

def slowest(work, number=200):
    took = []
    def timed():
        began = time.monotonic()
        work()
        took.append(time.monotonic() - began)
    gevent.joinall([gevent.spawn(timed) for _ in range(number)], raise_error=True)
    assert len(took) == number
    return max(took)

def one():
    return store.hit("rpm:x", 50, 1000000).taken

def whole():
    window = store.hit("tpm:x", 10**9, 60, 100, 10)
    taken = store.take("slots:x", 10**9, 1)
    gevent.sleep(0.001)
    store.settle("slots:x", taken, 1)
    store.add("tpm:x", 60, -50, window)
"""


def patched(script, server, folder):
    command = [sys.executable, "-c", START + script, server.url, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("warm", [True, False], ids=["connected", "unconnected"])
def test_two_hundred_greenlets_on_a_silent_redis_wait_once(redis_server, tmp_path, warm):  # noqa: F811
    script = """
import os, signal
if int(sys.argv[3]):
    slowest(lambda: store.hit("tpm:x", 10**9, 60))
os.kill(int(sys.argv[4]), signal.SIGSTOP)
took, passed = [], []
print("slowest", slowest(lambda: passed.append(one())), end=" ")
assert sum(passed) == 50 and store.alone
print("then", slowest(whole))
os.kill(int(sys.argv[4]), signal.SIGCONT)
"""
    command = [sys.executable, "-c", START + script, redis_server.url, str(tmp_path / "limits")]
    command += [str(int(warm)), str(redis_server.process.pid)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    print(done.stdout)
    assert float(done.stdout.split()[1]) < 2


def test_burst_of_greenlets_on_a_good_redis_is_no_outage(redis_server, tmp_path):  # noqa: F811
    patched(
        """
slowest(whole, 1500)
assert not store.alone
assert store.take("slots:x", 5000, 5000, 1).amount == 5000 - 1500
assert store.shared.take("slots:y", 5, 5).amount == 5
clients = redis.Redis.from_url(sys.argv[1]).info("clients")["connected_clients"]
assert clients <= SOCKETS + 1, clients
""",
        redis_server,
        tmp_path,
    )


def test_greenlets_that_are_killed_leave_nothing_held(redis_server, tmp_path):  # noqa: F811
    patched(
        """
for round in range(20):
    jobs = [gevent.spawn(store.take, "slots:x", 10**6, 1) for _ in range(20)]
    gevent.sleep(0.0005 * round)
    gevent.killall(jobs)
    for job in jobs:
        if not isinstance(job.value, gevent.GreenletExit):
            store.settle("slots:x", job.value)
assert not store.alone
store.shared.beat()
assert store.take("slots:x", 10**6, 10**6).amount == 10**6
""",
        redis_server,
        tmp_path,
    )
