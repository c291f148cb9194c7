"""A wait is ended from outside in time, by whom it should be, and nothing stays behind."""

import gc
import time
from contextlib import contextmanager
from functools import partial

import gevent
import psutil
import pytest
from gevent import socket
from gevent.event import Event

from gateway import watch
from gateway.watch import FOREVER, Gone, Late, Pause, Watch, limit

SOON = 0.4  # seconds within which what is due at once has to happen: a tick, and some


@contextmanager
def tcp():
    """Give the two ends of a TCP connection: the gateway's and its client's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with served, client:
        yield served, client


@contextmanager
def unix():
    served, client = socket.socketpair()
    with served, client:
        yield served, client


@pytest.fixture(params=[tcp, unix])
def ends(request):
    with request.param() as found:
        yield found


@pytest.fixture(autouse=True)
def alone():
    """Let nothing be watched but what a test itself makes: others may share its process."""
    watch._sweeper().watches.clear()


@pytest.fixture
def watched():
    """Return a function that makes watches, which have to be gone from the sweeper at the end."""
    made = []

    def make(client=None):
        made.append(Watch(client))
        return made[-1]

    yield make
    for guard in made:
        guard.close()
    assert watch._sweeper().watches == set()


def waits(guard, **limits):
    """Wait for what never comes; return what ended it and after how long."""
    began = time.monotonic()
    with pytest.raises(BaseException) as found:
        guard.call(partial(gevent.sleep, 5), **limits)
    return found.value, time.monotonic() - began


def test_result_and_exception_come_through(watched):
    guard = watched()
    assert guard.call(partial(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        guard.call(partial(divmod, 1, 0))


def test_deadline_ends_a_wait_and_says_which(watched):
    late, took = waits(watched(), deadline=time.monotonic() + 0.1, timer="idle")
    assert isinstance(late, Late) and late.timer == "idle"
    assert 0.1 <= took < 0.1 + SOON


def test_deadline_in_the_past_ends_the_next_wait_at_once(watched):
    late, took = waits(watched(), deadline=time.monotonic() - 1, timer="total")
    assert isinstance(late, Late) and took < SOON


def test_what_does_not_wait_is_never_late(watched):
    assert watched().call(partial(divmod, 7, 2), deadline=0, pause=0) == (3, 1)


def test_deadline_does_not_outlast_its_call(watched):
    guard = watched()
    guard.call(partial(gevent.sleep, 0), deadline=time.monotonic() + 0.05)
    gevent.sleep(2 * watch.TICK)


def test_pause_gives_the_greenlet_back_and_the_wait_can_go_on(watched):
    guard, event = watched(), Event()
    gevent.spawn_later(0.4, event.set)
    pauses = 0
    while True:
        try:
            assert guard.call(partial(event.wait, 5), pause=time.monotonic() + 0.1)
            break
        except Pause:
            pauses += 1
    assert 1 <= pauses <= 4


def test_deadline_comes_before_a_pause_that_is_due_as_well(watched):
    now = time.monotonic()
    assert isinstance(waits(watched(), deadline=now, pause=now)[0], Late)
    assert isinstance(waits(watched(), deadline=now + 9, pause=now)[0], Pause)


def test_sleep_takes_its_time(watched):
    began = time.monotonic()
    watched().sleep(0.05)
    assert time.monotonic() - began >= 0.05
    with pytest.raises(Late):
        watched().sleep(5, deadline=began)


def test_limits_of_a_wait_that_are_renewed_are_put_off_and_hold_then(watched):
    began, asked = time.monotonic(), []

    def renewed():
        asked.append(time.monotonic() - began)
        return began + 0.4, "idle", began + 9

    limits = {"deadline": began + 9, "pause": began + 0.1, "renewed": renewed}
    late, took = waits(watched(), **limits)
    assert isinstance(late, Late) and late.timer == "idle" and 0.4 <= took < 0.4 + SOON
    assert 0.1 <= asked[0] < 0.3 and len(asked) == 2


def test_renewed_limits_do_not_outlast_their_call_nor_undo_a_drain(watched):
    guard = Watch(drains=True)
    limits = {"deadline": 0, "renewed": lambda: (watch.FOREVER, "idle", watch.FOREVER)}
    try:
        assert guard.call(partial(gevent.sleep, 2 * watch.TICK), **limits) is None
        assert isinstance(waits(guard, deadline=0)[0], Late)
        gevent.spawn_later(0.05, watch.drain, Draining)
        reason, took = waits(guard, **limits)
        assert isinstance(reason, Gone) and took < SOON
    finally:
        guard.close()


@pytest.mark.parametrize("reason", [Gone(), Late("total"), Pause()])
def test_no_except_exception_swallows_what_is_thrown(reason):
    assert not isinstance(reason, Exception)


def test_client_that_closes_ends_the_wait_at_once(watched, ends):
    served, client = ends
    guard = watched(served)
    gevent.spawn_later(0.05, client.close)
    gone, took = waits(guard)
    assert isinstance(gone, Gone) and took < 0.05 + 0.1
    assert guard.gone


def test_client_that_only_stops_sending_has_left_too(watched, ends):
    served, client = ends
    guard = watched(served)
    client.shutdown(socket.SHUT_WR)
    assert isinstance(waits(guard)[0], Gone)


def test_reset_ends_the_wait(watched):
    with tcp() as (served, client):
        guard = watched(served)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert isinstance(waits(guard)[0], Gone)


def test_client_that_left_between_two_waits_is_seen_by_the_next(watched, ends):
    served, client = ends
    guard = watched(served)
    client.close()
    gevent.sleep(0.02)
    with pytest.raises(Gone):
        guard.call(partial(divmod, 7, 2))
    with pytest.raises(Gone):
        guard.call(partial(divmod, 7, 2))


def test_pipelined_bytes_are_no_close_and_stay_to_be_read(watched, ends):
    served, client = ends
    guard = watched(served)
    client.sendall(b"GET / HTTP/1.1\r\n")
    guard.call(partial(gevent.sleep, 2 * watch.TICK))
    assert served.recv(100) == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_close_behind_pipelined_bytes_is_seen(watched, ends, how):
    served, client = ends
    guard = watched(served)
    client.sendall(b"GET / HTTP/1.1\r\n")
    guard.call(partial(gevent.sleep, 0.05))
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    gone, took = waits(guard)
    assert isinstance(gone, Gone) and took < SOON


@pytest.mark.parametrize("native", [False, True], ids=["greenlet", "thread"])
def test_leave_ends_this_wait_and_every_later_one_from_anywhere(watched, native):
    guard, after = watched(), []

    def leave():
        guard.leave()
        after.append("went on")

    other = gevent.get_hub().threadpool.spawn(leave) if native else gevent.spawn(leave)
    with pytest.raises(Gone):
        guard.sleep(10)
    gevent.wait([other], 5)
    with pytest.raises(Gone):
        guard.sleep(10)
    assert after == ["went on"]


def test_leave_between_two_waits_ends_the_next_and_a_closed_watch_s_too(watched):
    guard = watched()
    guard.close()
    guard.leave()
    gevent.sleep(0)
    with pytest.raises(Gone):
        guard.sleep(10)


def test_closed_watch_throws_nothing_more(watched, ends):
    served, client = ends
    guard = watched(served)
    guard.close()
    guard.close()
    client.close()
    gevent.sleep(2 * watch.TICK)
    assert not guard.gone


def test_watch_may_be_closed_by_the_greenlet_that_it_has_just_woken(watched):
    def serve(guard):
        try:
            guard.call(partial(gevent.sleep, 5))
        except Gone:
            return "gone"
        finally:
            guard.close()

    with tcp() as (served, client):
        job = gevent.spawn(serve, watched(served))
        gevent.sleep(0.02)
        client.close()
        assert job.get(timeout=1) == "gone"


def test_greenlets_are_ended_each_by_its_own_watch(watched):
    def wait(number):
        deadline = time.monotonic() + 0.1 * number
        return waits(watched(), deadline=deadline, timer=str(number))

    jobs = [gevent.spawn(wait, number) for number in range(1, 5)]
    gevent.joinall(jobs, raise_error=True)
    for number, job in enumerate(jobs, 1):
        late, took = job.value
        assert late.timer == str(number) and 0.1 * number <= took < 0.1 * number + SOON


def test_limit_ends_a_block_with_the_error_that_was_given():
    began = time.monotonic()
    with pytest.raises(KeyError, match="slow"), limit(0.1, KeyError("slow")):
        gevent.sleep(5)
    assert time.monotonic() - began < 0.1 + SOON
    assert watch._sweeper().watches == set()


def test_limit_leaves_a_quick_block_and_its_errors_alone():
    with limit(5, KeyError("slow")):
        gevent.sleep(0)
    with pytest.raises(ZeroDivisionError), limit(5, KeyError("slow")):
        divmod(1, 0)
    assert watch._sweeper().watches == set()


def test_thousand_watches_are_cheap_and_leave_nothing_behind(watched):
    strangers = {id(found) for found in living()}
    with tcp() as (served, _):
        guards = [Watch(served) for _ in range(1000)]
        jobs = [gevent.spawn(g.call, gevent.sleep, 5, deadline=FOREVER) for g in guards]
        gevent.sleep(0)
        before = psutil.Process().cpu_times()
        gevent.sleep(0.5)
        after = psutil.Process().cpu_times()
        assert after.user + after.system - before.user - before.system < 0.1
        gevent.killall(jobs)
        for guard in guards:
            guard.close()
    gevent.sleep(2 * watch.TICK)  # it stops at its next look
    assert not watch._sweeper().timer.active
    del guard, guards, jobs
    gevent.sleep(0)
    gc.collect()
    assert not [found for found in living() if id(found) not in strangers]


def living():
    return [found for found in gc.get_objects() if type(found) is Watch]


def test_sweeper_begins_anew_after_it_had_nothing_to_do(watched):
    watched().close()
    gevent.sleep(2 * watch.TICK)  # it stops at its next look
    assert not watch._sweeper().timer.active
    assert isinstance(waits(watched(), deadline=0)[0], Late)


def test_limit_that_ends_in_the_look_that_would_end_it_is_left_alone(watched):
    sweeper = watch._sweeper()

    def waits():
        with limit(0.05, KeyError("slow")):
            other.__exit__(None, None, None)
            gevent.sleep(5)

    other = limit(0.05, KeyError("other"))
    job = gevent.spawn(waits)
    other.greenlet, other.sweeper, other.wake = None, sweeper, 0.0
    sweeper.add(other)
    with pytest.raises(KeyError, match="slow"):
        job.get(timeout=2)
    other.ring(time.monotonic())  # nobody to throw into: it must not try


class Draining(Exception):
    pass


def test_drain_ends_the_wait_of_a_call_and_every_later_one(watched):
    guard = Watch(drains=True)
    gevent.spawn_later(0.05, watch.drain, Draining)
    try:
        assert isinstance(waits(guard)[0], Gone) and guard.drained is Draining
        with pytest.raises(Gone):
            guard.call(partial(divmod, 7, 2))
    finally:
        guard.close()


def test_drain_leaves_alone_what_has_an_end_of_its_own_and_who_had_left_before(watched):
    own, left = watched(), Watch(drains=True)
    try:
        left.leave()
        gevent.sleep(0)
        watch.drain(Draining)
        assert own.call(partial(divmod, 7, 2)) == (3, 1)
        assert own.drained is None and left.drained is None
    finally:
        left.close()


def test_drain_ends_a_bounded_block_with_its_own_error():
    gevent.spawn_later(0.05, watch.drain, Draining)
    with pytest.raises(Draining), limit(5, KeyError("slow")):
        gevent.sleep(5)
    assert watch._sweeper().watches == set()
