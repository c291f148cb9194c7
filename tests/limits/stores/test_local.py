"""A local store's file: shared, private, kept small, and replaced when it is of no use."""

import logging
import os
import stat
import subprocess
import threading

import lmdb
import pytest

from gateway.limits.stores import Away, local, records
from gateway.limits.stores.local import Local
from tests.limits.stores.processes import begin

LONG = 10**6
NOON = 1_800_014_400.0


class Clock:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(records.tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    return tmp_path / "limits"


@pytest.fixture
def another(folder):
    made = []

    def make(*args, **options):
        made.append(Local(folder, *args, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(another):
    return another()


def data(folder):
    """The file of records of the folder."""
    (found,) = folder.glob("*/data.mdb")
    return found


def count(folder, name="tpm:x"):
    """What another process has left of a limit of 100, or its error."""
    left = "print(store.look(sys.argv[3], 100, 10**6).remaining)"
    return begin(left, "local", folder, name).communicate()[0].strip()


def test_files_are_this_users_alone(store, folder):
    old = os.umask(0)
    try:
        store.hit("tpm:x", 10, LONG)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes["data.mdb"] == modes["lock.mdb"] == modes["lock"] == 0o600
    assert modes["holders"] == 0o700


def test_nothing_is_opened_before_it_is_used(another, folder):
    another()
    assert not folder.exists()


def test_disk_is_allocated_so_that_a_full_one_kills_nobody(store, folder):
    store.hit("tpm:x", 10, LONG)
    assert data(folder).stat().st_blocks * 512 >= records.MAP


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_forked_child_counts_with_its_parent(store, folder, used):
    before = 0
    if used:
        before = store.hit("tpm:x", 100, LONG, 10).taken
        store.take("slots:x", 3, 1)
    child = os.fork()
    if child == 0:
        try:
            good = store.hit("tpm:x", 100, LONG, 20).taken == 20
            good = good and store.take("slots:x", 3, 2).amount == 2
            os._exit(7 if good else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.look("tpm:x", 100, LONG).remaining == 80 - before
    # What the child held is free, and what its parent holds is not.
    assert store.take("slots:x", 3, 3, 1).amount == (2 if used else 3)


def test_child_that_lives_on_keeps_no_place_of_its_parent(folder, another):
    script = """
store.take("slots:x", 1, 1)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    parent = begin(script, "local", folder)
    child = int(parent.stdout.readline())  # it has let go before it could say so
    parent.kill()
    try:
        parent.wait(timeout=20)
        assert another().take("slots:x", 1, 1).amount == 1
    finally:
        os.kill(child, 9)
        parent.communicate()


def test_holders_that_died_leave_no_files(store, folder, another):
    for _ in range(3):
        assert count(folder) == "100"
    store.take("slots:x", 1, 1)
    begin("store.take('slots:y', 1, 1); os.kill(os.getpid(), 9)", "local", folder).communicate()
    assert another().take("slots:y", 1, 1).amount == 1
    assert len(list(folder.glob("*/holders/*"))) == 2


def test_settlement_under_a_holder_of_before_gives_back_nothing(store, another):
    other = another()
    taken = store.take("slots:x", 2, 1)
    store.close()
    assert store.take("slots:x", 2, 2, 1).amount == 2
    store.settle("slots:x", taken)
    assert other.take("slots:x", 2, 1).amount == 0


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, b"x" * 100_000, b"\0" * 8192, os.urandom(65536)],
    ids=["empty", "short", "foreign", "zeros", "random"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_damaged_file_is_begun_anew(store, folder, content, name, caplog):
    store.hit("tpm:x", 100, LONG, 10)
    store.close()
    data(folder).with_name(name).write_bytes(content)

    assert store.hit("tpm:x", 100, LONG, 5).taken == 5
    assert count(folder) in ("95", "85")
    assert len(caplog.records) <= 1


def test_file_of_another_version_is_no_hindrance(store, folder, caplog):
    store.hit("tpm:x", 100, LONG, 10)
    store.close()
    with open(data(folder), "r+b") as file:
        content = bytearray(file.read(8192))
        for page in (0, 4096):
            content[page + 20] ^= 0x40
        file.seek(0)
        file.write(content)

    assert store.hit("tpm:x", 100, LONG, 20)[:2] == (20, 80)
    assert len(caplog.records) == 1


def test_file_removed_under_two_processes_is_the_same_new_one_for_both(store, folder, another):
    other = another()
    for found in (store, other):
        found.hit("tpm:x", 100, LONG, 10)
    subprocess.run(["rm", "-r", str(folder)], check=True)
    assert count(folder) == "100"

    for found in (store, other):
        found.tend()
        assert found.hit("tpm:x", 100, LONG, 10).taken == 10
    assert count(folder) == "80"
    assert store.epoch == other.epoch == 2


@pytest.mark.parametrize("fault", [lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError])
def test_file_that_turns_out_to_be_damaged_is_begun_anew(store, folder, fault, caplog, monkeypatch):
    store.hit("tpm:x", 100, LONG, 10)
    env = store.records.env

    class Broken:
        def begin(self, write):
            raise fault("oh")

        def __getattr__(self, name):
            return getattr(env, name)

    store.records.env = Broken()
    assert store.hit("tpm:x", 100, LONG, 5)[:2] == (5, 95)
    assert count(folder) == "95"
    assert [r.getMessage().count("a new one is begun") for r in caplog.records] == [1]


def test_damage_that_another_process_has_put_right_is_left_alone(store, folder):
    store.hit("tpm:x", 100, LONG, 10)
    subprocess.run(["rm", "-r", str(folder)], check=True)
    begin("store.hit('tpm:x', 100, 10**6, 30)", "local", folder).communicate()
    store.records.broken()
    assert store.look("tpm:x", 100, LONG).remaining == 70


def test_folder_that_cannot_be_used_is_one_line_and_a_spare_one(store, folder, another, caplog):
    folder.write_text("a file")
    assert store.hit("tpm:x", 100, LONG, 10).taken == 10
    assert another().look("tpm:x", 100, LONG).remaining == 90
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2  # one for each store
    (spare,) = (folder.parent / "spare").iterdir()
    assert stat.S_IMODE(spare.stat().st_mode) == 0o700


def test_spare_folder_that_somebody_else_has_put_there_is_not_used(store, folder, tmp_path):
    folder.write_text("a file")
    spare = records._spare(str(folder))
    (tmp_path / "trap").mkdir()
    os.symlink(tmp_path / "trap", spare)
    with pytest.raises(Away):
        store.hit("tpm:x", 100, LONG)
    assert list((tmp_path / "trap").iterdir()) == []


def test_no_folder_at_all_is_away_and_not_tried_at_each_call(store, folder, monkeypatch, caplog):
    folder.write_text("a file")
    monkeypatch.setattr(records, "_spare", lambda folder: folder)
    for _ in range(50):
        for call in (store.sweep, lambda: store.hit("tpm:x", 1, LONG), store.records.begin):
            with pytest.raises(Away):
                call()
        store.tend()
    assert len(caplog.records) == 2

    folder.unlink()
    store.records.closed_until = 0
    assert store.hit("tpm:x", 1, LONG).taken == 1


def test_full_disk_is_a_spare_folder(store, folder, monkeypatch):
    def full(file, start, size):
        if str(folder) in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert store.hit("tpm:x", 100, LONG, 10).taken == 10
    assert store.records.path.startswith(str(folder.parent / "spare"))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(records, "MAP", 1 << 17)


def fill(store, kind="tpm"):
    for number in range(100_000):
        try:
            store.hit(f"{kind}:{number:0200}", 1, 60)
        except Away:
            return number
    raise AssertionError


def test_full_file_is_swept_before_anybody_hears_of_it(small, another):
    clock = Clock()
    store = another(clock=clock)
    held = store.take("slots:x", 3, 1)
    store.seed("budget:x", 70, NOON + LONG)
    filled = fill(store)
    assert filled > 50
    for _ in range(3):
        store.full_until = 0
        clock.now += 121
        for number in range(filled - 10):
            assert store.hit(f"tpm:{number:0200}", 1, 60).taken == 1
    assert store.take("slots:x", 3, 3, 1).amount == 2
    store.settle("slots:x", held)
    assert store.take("budget:x", 100, 100, 1).amount == 30


def test_file_full_of_what_is_needed_is_not_swept_at_each_call(small, store, monkeypatch):
    filled, sweeps = fill(store), []
    assert store.full_until > 0
    store.full_until = float("inf")
    monkeypatch.setattr(local, "batch", lambda *_: sweeps.append(1) or [])
    for _ in range(5):
        with pytest.raises(Away):
            store.hit(f"tpm:{filled:0200}", 1, 60)
    assert sweeps == []


def test_sweep_leaves_what_counts_and_what_is_held(another, monkeypatch):
    monkeypatch.setattr(local, "BATCH", 3)
    clock = Clock()
    store = another(clock=clock)
    store.take("slots:x", 3, 2)
    store.seed("budget:x", 70, NOON + LONG)
    store.seed("budget:old", 70, NOON + 60)
    for number in range(20):
        store.hit(f"tpm:{number}", 10, 60)
    clock.now += 130
    store.hit("tpm:new", 10, 60)

    for _ in range(10):
        store.tend()
    with store.records.begin() as txn:
        assert sorted(txn.cursor().iternext(values=False)) == [
            b"abudget:x", b"aslots:x", b"wtpm:new",
        ]  # fmt: skip


def test_what_the_dead_held_is_swept(another, folder):
    begin("store.take('slots:x', 9, 9); os.kill(os.getpid(), 9)", "local", folder).communicate()
    store = another()
    store.tend()
    with store.records.begin() as txn:
        assert txn.stat()["entries"] == 0


def test_what_earlier_boots_left_is_removed_once_nobody_writes_it(store, folder):
    for name, age in (("1-old", 2 * records.STALE), ("1-busy", 60)):
        (folder / name).mkdir(parents=True)
        (folder / name / "data.mdb").write_bytes(b"x")
        then = records.time.time() - age
        os.utime(folder / name / "data.mdb", (then, then))
    store.hit("tpm:x", 1, LONG)
    assert not (folder / "1-old").exists() and (folder / "1-busy").exists()


def test_account_that_was_never_seeded_is_forgotten_after_a_day(another):
    clock = Clock()
    store = another(clock=clock)
    store.settle("budget:x", None, 60)
    clock.now += 23 * 3600
    assert store.take("budget:x", 100, 100, 1).amount == 40
    clock.now += 25 * 3600
    assert store.take("budget:x", 100, 100, 1).amount == 60


def test_threads_of_one_process_count_exactly(store):
    counts = []

    def work():
        counts.append(sum(store.hit("tpm:x", 2000, LONG).taken for _ in range(1000)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 2000


def test_loop_ends_when_it_is_told_and_survives_a_fault(store, monkeypatch, caplog):
    stop = threading.Event()
    calls = []

    def tend():
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        raise RuntimeError("oh")

    monkeypatch.setattr(local, "SWEEP", 0.001)
    monkeypatch.setattr(store, "tend", tend)
    store.run(stop)
    assert len(calls) == len(caplog.records) == 3
