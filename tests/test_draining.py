"""The flag that says a gateway is about to end."""

from types import SimpleNamespace

import pytest

from gateway.draining import LOOK, Flag


def settings(folder, bind="127.0.0.1:8000"):
    return SimpleNamespace(state=folder, server=SimpleNamespace(bind=bind))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_flag_is_seen_by_others_within_half_a_second(tmp_path):
    clock = Clock()
    ours, theirs = Flag(settings(tmp_path)), Flag(settings(tmp_path), clock)
    assert not theirs.up
    ours.raise_up()
    ours.raise_up()
    clock.now += LOOK
    assert theirs.up
    ours.take_down()
    ours.take_down()
    clock.now += LOOK
    assert not theirs.up


def test_file_is_looked_at_no_more_than_twice_a_second(tmp_path):
    clock = Clock()
    flag = Flag(settings(tmp_path), clock)
    assert not flag.up
    Flag(settings(tmp_path)).raise_up()
    clock.now += LOOK * 0.9
    assert not flag.up
    clock.now += LOOK * 0.2
    assert flag.up


@pytest.mark.parametrize(
    "other", ["127.0.0.1:8010", "[::1]:8000", "unix:/run/gateway/gw.sock", "0.0.0.0:8000"]
)
def test_standby_of_the_same_machine_is_not_drained_with_it(tmp_path, other):
    Flag(settings(tmp_path)).raise_up()
    assert not Flag(settings(tmp_path, other)).up
    Flag(settings(tmp_path, other)).take_down()
    assert Flag(settings(tmp_path)).up


def test_folder_is_made_where_nothing_has_run_yet(tmp_path):
    Flag(settings(tmp_path / "a" / "b")).raise_up()
    assert Flag(settings(tmp_path / "a" / "b")).up
