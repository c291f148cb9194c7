"""Metrics over processes that come, die and are killed: sums stay, files do not pile up."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from gateway import metric_files
from tests.serving import ROOT

WORKER = """
import os, sys
from gateway import metrics
from gateway.metrics import tally
count, spooled, queued = map(int, sys.argv[1:])
tally.requests["chat", "m", 200] += count
tally.usage_spooled = spooled
tally.duration.add(0.02, "chat", "m")
metrics.jobs.labels("queued").set(queued)
tally.flush()
print(os.getpid(), flush=True)
sys.stdin.read()
"""
REQUESTS = 'gateway_requests_total{endpoint="chat",model="m",status="200"}'
DURATION = (
    "gen_ai_server_request_duration_seconds_{}"
    '{{gen_ai_operation_name="chat",gen_ai_request_model="m"{}}}'
)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which has counted, and returns it."""
    started = []

    def begin(count=1, spooled=0, queued=0):
        environ = {**os.environ, metric_files.FOLDER: str(tmp_path), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", WORKER, str(count), str(spooled), str(queued)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, env=environ, **pipes)
        started.append(process)
        assert int(process.stdout.readline()) == process.pid
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def kill(process, folder):
    process.send_signal(signal.SIGKILL)
    process.wait()
    metric_files.bury(str(folder), process.pid)


def samples(folder):
    rows = [row for row in metric_files.text(str(folder)).decode().splitlines() if row[0] != "#"]
    return {row.rpartition(" ")[0]: float(row.rpartition(" ")[2]) for row in rows}


def test_counts_of_the_living_and_the_dead_add_up_and_live_gauges_go(start, tmp_path):
    first, second = start(3, spooled=5, queued=7), start(4, spooled=6, queued=8)
    before = samples(tmp_path)
    assert (before[REQUESTS], before["gateway_usage_spooled"]) == (7, 11)

    kill(first, tmp_path)
    after = samples(tmp_path)
    assert (after[REQUESTS], after["gateway_usage_spooled"]) == (7, 6)
    assert after[DURATION.format("count", "")] == 2
    assert after[DURATION.format("bucket", ',le="0.025"')] == 2
    assert after[DURATION.format("sum", "")] == pytest.approx(0.04)

    kill(second, tmp_path)
    last = samples(tmp_path)
    assert last[REQUESTS] == 7 and last['gateway_jobs{status="queued"}'] == 8
    assert "gateway_usage_spooled" not in last


def test_newest_value_of_a_shared_gauge_stays_whoever_dies_first(start, tmp_path):
    older, newer = start(queued=1), start(queued=2)
    kill(newer, tmp_path)
    kill(older, tmp_path)
    assert samples(tmp_path)['gateway_jobs{status="queued"}'] == 2


def test_files_do_not_pile_up(start, tmp_path):
    for _ in range(4):
        kill(start(1), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"counter_dead.db", "histogram_dead.db", "gauge_mostrecent_dead.db"}
    assert samples(tmp_path)[REQUESTS] == 4


def test_process_whose_end_nobody_saw_is_buried_with_the_next(start, tmp_path):
    unseen, other = start(2), start(3)
    unseen.kill()
    unseen.wait()
    kill(other, tmp_path)
    assert samples(tmp_path)[REQUESTS] == 5
    assert not [path for path in tmp_path.iterdir() if str(unseen.pid) in path.name]


def test_process_whose_end_nobody_saw_is_buried_at_the_next_look(start, tmp_path):
    unseen, living = start(2, spooled=5), start(3, spooled=6)
    unseen.kill()
    unseen.wait()
    found = samples(tmp_path)
    assert (found[REQUESTS], found["gateway_usage_spooled"]) == (5, 6)
    assert not [path for path in tmp_path.iterdir() if str(unseen.pid) in path.name]
    assert living.poll() is None


def test_living_process_is_left_alone(start, tmp_path):
    living, dead = start(2), start(3)
    kill(dead, tmp_path)
    metric_files.clear(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if "dead" in path.name] == []
    assert samples(tmp_path)[REQUESTS] == 2 and living.poll() is None


def test_what_a_master_has_by_its_imports_is_cleared_too(tmp_path):
    own, others = (tmp_path / f"counter_{pid}.db" for pid in (os.getpid(), os.getppid()))
    own.touch()
    others.touch()
    metric_files.clear(str(tmp_path))
    assert list(tmp_path.iterdir()) == [others]


def test_file_that_is_broken_is_dropped_and_told(start, tmp_path, caplog):
    kill(start(2), tmp_path)
    (tmp_path / "counter_9999999.db").write_bytes(b"\xff\x7f\x00\x00" * 8)
    metric_files.bury(str(tmp_path), 9999999)
    assert samples(tmp_path)[REQUESTS] == 2
    assert "metrics of a dead process are lost" in caplog.text


def test_file_that_a_process_has_just_made_is_passed_over(start, tmp_path):
    start(count=2)
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").touch()
    assert f"{REQUESTS} 2.0" in metric_files.text(str(tmp_path)).decode()


def test_sum_is_never_seen_short_or_double_while_the_dead_are_folded(start, tmp_path):
    dead = [start(100) for _ in range(6)]
    for process in dead:
        process.kill()
        process.wait()
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            seen.add(samples(tmp_path)[REQUESTS])

    looking = threading.Thread(target=look)
    looking.start()
    for process in dead:
        metric_files.bury(str(tmp_path), process.pid)
    stop.set()
    looking.join()
    assert seen == {600}


def test_folder_is_made_once_and_in_the_runtime_directory(tmp_path):
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"}
    made = metric_files.prepare(environ)
    assert os.path.dirname(made) == str(tmp_path) and os.stat(made).st_mode & 0o77 == 0
    assert environ[metric_files.FOLDER] == made
    assert metric_files.prepare(environ) is None  # a reload
    assert os.listdir(tmp_path) == [os.path.basename(made)]


def test_folder_that_a_killed_master_has_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"gateway-metrics-{gone.pid}-x"
    left.mkdir()
    (left / "counter_1.db").touch()
    kept = [tmp_path / f"gateway-metrics-{os.getpid()}-y", tmp_path / "gateway-metrics-mine"]
    for folder in kept:
        folder.mkdir()
    made = metric_files.prepare({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert sorted(map(str, tmp_path.iterdir())) == sorted([made, *map(str, kept)])


@pytest.mark.parametrize("pid", ["99999999999999999999", "2147483648", "-2147483648", "²", "٣", ""])
def test_folder_of_any_name_keeps_no_master_from_starting(tmp_path, pid):
    odd = tmp_path / f"gateway-metrics-{pid}-x"
    odd.mkdir()
    made = metric_files.prepare({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert sorted(map(str, tmp_path.iterdir())) == sorted([made, str(odd)])


def test_folder_of_another_account_is_not_even_asked_about(tmp_path, monkeypatch):
    left = tmp_path / "gateway-metrics-1-x"
    left.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    monkeypatch.setattr(metric_files, "alive", lambda pid: pytest.fail("asked"))
    metric_files.prepare({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert left.is_dir()


def test_file_of_an_impossible_process_is_passed_over(tmp_path):
    (tmp_path / "counter_99999999999999999999.db").touch()
    metric_files.clear(str(tmp_path))
    assert metric_files.text(str(tmp_path)) == b""


def test_master_declares_no_metric_before_it_has_forked():
    """What is declared before there is a folder would be one process's own for ever."""
    names = "gateway.server, gateway.gunicorn_worker"
    code = f"import sys, {names}; print('gateway.metrics' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, check=True
    )
    assert said.stdout == b"False\n"
