"""What goes from a call to the client that began it."""

import threading

import pytest

from gateway import errors
from gateway.idempotency import live as module
from gateway.idempotency.live import Live


def plainly(function):
    return function()


def never(function, *args):
    raise AssertionError("it would wait")


def test_blocks_come_in_order_and_are_counted():
    live = Live()
    for number in range(3):
        live.put(b"%d" % number, number)
    live.close()
    assert list(live.taken(never)) == [b"0", b"1", b"2"]
    assert live.seen == 2


def test_block_is_taken_while_others_are_still_to_come():
    live, found = Live(), []
    arrived = threading.Event()

    def take():
        for block in live.taken(plainly):
            found.append(block)
            arrived.set()

    thread = threading.Thread(target=take)
    thread.start()
    live.put(b"a", 1)
    assert arrived.wait(5) and found == [b"a"]
    live.put(b"b", 1)
    live.close()
    thread.join(5)
    assert found == [b"a", b"b"]


def test_client_that_falls_behind_knows_what_it_has_had(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    live = Live()
    live.put(b"x" * 20, 1)
    blocks = live.taken(never)
    assert next(blocks) == b"x" * 20
    live.put(b"y" * 8, 2)
    live.put(b"z" * 8, 1)
    live.put(b"w", 1)
    live.close(errors.InternalError())
    assert list(blocks) == []
    assert (live.behind, live.seen, list(live.blocks)) == (True, 0, [])


def test_client_that_left_is_given_nothing_more():
    live = Live()
    live.put(b"a", 1)
    live.leave()
    live.put(b"b", 1)
    assert not live.blocks


def test_head_is_waited_for():
    live = Live()
    threading.Timer(0.05, live.begin, (200, [])).start()
    assert live.begun(plainly) == (200, [])


def test_error_in_place_of_a_head_is_raised():
    live = Live()
    live.close(errors.NoHealthyUpstream())
    live.close(errors.InternalError())
    with pytest.raises(errors.NoHealthyUpstream):
        live.begun(never)


def test_error_behind_the_last_block_is_raised():
    live = Live()
    live.begin(200, [])
    live.put(b"a", 1)
    live.close(errors.ServerDraining())
    blocks = live.taken(never)
    assert next(blocks) == b"a"
    with pytest.raises(errors.ServerDraining):
        next(blocks)
