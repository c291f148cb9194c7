"""Rows on disk: whole after every kind of death, and read by one process at a time."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import errors
from gateway.usage import spool as module
from gateway.usage.spool import BATCH, Spool
from gateway.usage.writing import COLUMNS
from tests.test_usage import made

ROOT = Path(__file__).parents[1]
# Puts rows until it is killed, and says how many are on disk.
WRITER = """
import sys
from gateway.usage.spool import Spool
from tests.test_usage import made
spool, number = Spool(sys.argv[1]), 0
while True:
    assert spool.put([made(number + n) for n in range(3)])
    number += 3
    print(number, flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spool(folder):
    found = Spool(folder)
    yield found
    found.close()


def ids(rows):
    return [row["request_id"] for row in rows]


def replayed(spool):
    batches = []
    spool.replay(lambda rows: batches.append(ids(rows)))
    return batches


def leave(folder, *names, tail=b""):
    """Leave the file of a process that has died."""
    dead = Spool(folder)
    assert dead.put([made(name) for name in names])
    with open(dead.own.path, "ab") as file:
        file.write(tail)
    dead.own.close()
    return Path(dead.own.path)


def test_rows_come_back_as_they_were_in_batches_and_once(spool):
    rows = [made(number, model="é😀\0") for number in range(BATCH + 2)]
    assert spool.put(rows[:1]) and spool.put(rows[1:])
    found = []
    spool.replay(found.extend)
    assert found == rows
    assert replayed(spool) == []


def test_file_is_its_owner_s_alone_and_empty_when_all_was_taken(spool, folder):
    spool.put([made(1)])
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    replayed(spool)
    assert path.stat().st_size == 0
    spool.close()
    assert list(folder.iterdir()) == []


def test_rows_that_were_not_taken_are_given_again(spool):
    spool.put([made(number) for number in range(BATCH + 2)])
    taken = []

    def write(rows):
        if taken:
            raise errors.DependencyUnavailable()
        taken.extend(rows)

    with pytest.raises(errors.DependencyUnavailable):
        spool.replay(write)
    assert spool.waiting == 2
    assert replayed(spool) == [[f"req_{BATCH}", f"req_{BATCH + 1}"]]


def test_rows_that_come_while_others_are_replayed_are_kept(spool):
    spool.put([made(1)])
    late = [[made(2)], [made(3)]]
    seen = []

    def write(rows):
        seen.extend(ids(rows))
        if late:
            assert spool.put(late.pop(0))

    spool.replay(write)
    assert (seen, spool.waiting) == (["req_1", "req_2", "req_3"], 0)


def test_file_of_a_live_process_is_left_alone(spool, folder):
    spool.put([made(1)])
    assert replayed(Spool(folder)) == []
    assert spool.waiting == 1


def test_file_of_a_dead_process_is_taken_over_by_one_process(folder):
    path = leave(folder, 1, 2)
    first, second = Spool(folder), Spool(folder)
    others = []

    def write(rows):
        others.extend(replayed(second))
        assert ids(rows) == ["req_1", "req_2"] and first.waiting == 2

    first.replay(write)
    assert others == [] and not path.exists()


@pytest.mark.parametrize(
    "tail, bad",
    [
        (b'{"created_at": 1.5, "requ', 1),
        (b'{"torn\n{"again', 2),
        (b"[1]\nnull\n\xff\n\n", 4),
        (b"\0" * 5000, 1),
    ],
)
def test_line_that_a_kill_has_torn_is_skipped_with_one_warning(folder, caplog, tail, bad):
    leave(folder, 1, 2, tail=tail)
    assert replayed(Spool(folder)) == [["req_1", "req_2"]]
    said = [m for m in caplog.messages if "no rows" in m]
    assert said == [f"spooled usage: {bad} lines are no rows, cut off by a kill"]
    assert list(folder.iterdir()) == []


def test_row_without_its_line_break_is_a_row(folder):
    path = leave(folder, 1)
    path.write_bytes(path.read_bytes()[:-1])
    assert replayed(Spool(folder)) == [["req_1"]]


def test_row_of_another_version_gets_the_columns_of_this_one(folder):
    path = leave(folder, 1)
    path.write_bytes(b'{"request_id": "req_9", "later": 1}\n')
    found = []
    Spool(folder).replay(found.extend)
    assert found == [{**dict.fromkeys(COLUMNS), "request_id": "req_9"}]


def test_full_disk_loses_nothing_that_was_there(spool, monkeypatch):
    assert spool.put([made(1)])
    write = os.pwrite

    def full(descriptor, data, at):
        if at > 500:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:300], at)

    monkeypatch.setattr(os, "pwrite", full)
    assert not spool.put([made(2)])
    monkeypatch.setattr(os, "pwrite", write)
    assert spool.put([made(3)])
    assert sum(replayed(spool), []) == ["req_1", "req_3"]


def test_row_that_is_no_json_keeps_no_other_back(spool):
    assert spool.put([made(1), made(2, model="\ud800"), made(3)])
    assert replayed(spool) == [["req_1", "req_3"]]


def test_dead_processes_are_looked_for_every_few_seconds(folder):
    now = [0.0]
    spool = Spool(folder, clock=lambda: now[0])
    assert replayed(spool) == []
    leave(folder, 1)
    assert replayed(spool) == []
    now[0] += module.LOOK
    assert replayed(spool) == [["req_1"]]


def test_file_that_cannot_be_read_stays_and_keeps_no_other_back(folder, monkeypatch, caplog):
    now, fault = [0.0], [OSError(errno.EIO, "Input/output error")]
    spool = Spool(folder, clock=lambda: now[0])
    first, second = sorted([leave(folder, 1), leave(folder, 2)])
    read = module.File.read

    def failing(file):
        if file.path == str(first) and fault:
            raise fault[0]
        return read(file)

    monkeypatch.setattr(module.File, "read", failing)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert len(replayed(spool)) <= 1
        now[0] += module.LOOK
    assert first.exists() and not second.exists()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert "usage on disk cannot be read: Input/output error" in caplog.messages
    fault.clear()
    assert len(replayed(spool)) == 1 and not first.exists()


def test_file_that_cannot_be_looked_into_is_left_alone(folder, monkeypatch):
    left = leave(folder, 1)

    def failing(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "lines", failing)
    descriptors = len(os.listdir("/proc/self/fd"))
    assert replayed(Spool(folder)) == [] and left.exists()
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("turn", range(3))
def test_killed_writer_has_lost_no_row_that_it_was_told_is_on_disk(folder, turn):
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        while int(line := process.stdout.readline()) < 30 + turn:
            pass
        process.send_signal(signal.SIGKILL)
        said = int(([line, *process.stdout.read().split()])[-1])
    found = sum(replayed(Spool(folder)), [])
    assert found[:said] == [f"req_{number}" for number in range(said)]
    assert len(found) <= said + 3
