"""Which workers a master counts; a real one is in live/test_process_recycled.py."""

import tempfile
from types import SimpleNamespace

import pytest

from gateway import workers


@pytest.fixture
def master():
    """The workers 1 to 3, of that age each."""
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as two:
        with tempfile.TemporaryFile() as three:
            files = enumerate((one, two, three), 1)
            yield workers.Workers(
                {n: SimpleNamespace(age=n, tmp=file, alive=False) for n, file in files}
            )


def first_to_end(found):
    return min(found.values(), key=lambda worker: worker.age)


def test_worker_that_takes_no_more_calls_holds_no_place_and_is_the_first_to_end(master):
    assert len(master) == 3
    workers.tell(master[2])
    assert len(master) == 2
    assert first_to_end(master) is master[2]
    assert set(master) == {1, 2, 3}


def test_master_that_waits_for_the_last_of_them_sees_that_there_are_some(master):
    for worker in master.values():
        workers.tell(worker)
    assert len(master) == 0 and master
    master.clear()
    assert not master


def test_all_hold_no_place_once_others_are_started_for_them(master):
    workers.tell(master[1])
    assert len(master) == 2
    master.replace(3)
    assert len(master) == 0
    assert all(3 < worker.age < 4 for worker in master.values())
    workers.tell(master[2])
    assert len(master) == 0
    assert all(3 < worker.age < 4 for worker in master.values())  # no reload waits for it
