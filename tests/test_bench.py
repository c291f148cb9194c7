import contextlib
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bench import answers, bodies, load, processes, report, stats
from bench.results import Results
from bench.systems.base import ROOT
from bench.systems.upstream import Upstream
from bench.targets import TARGETS, Target

TOKEN = answers.TOKEN
HUNDRED = list(range(1, 101))


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        ([4, 3, 2, 1], 0.5, 2),
        (HUNDRED, 0.99, 99),
        (HUNDRED, 1.0, 100),
        (HUNDRED, 0.0, 1),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values, share, expected):
    assert stats.percentile(values, share) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([None], None), ([1, None, 3], 2), ([5, 1, 2], 2)]
)
def test_a_median_leaves_out_what_was_not_measured(values, expected):
    assert stats.median(values) == expected


@pytest.mark.parametrize(
    ("ones", "others", "expected"),
    [
        ([2, 40], [1, 20], 2),  # the second round was slow for both
        ([2, 8, 90], [1, 2, 10], 4),
        ([2, None], [1, 5], 2),
        ([2, 3], [None, 1], 3),
        ([2], [0], None),
        ([2], [], None),
    ],
)
def test_a_ratio_compares_round_by_round(ones, others, expected):
    assert stats.ratio(ones, others) == expected


def test_added_latency_is_beside_the_upstream_in_the_same_round():
    results = Results()
    for number, (direct, nginx) in enumerate([(1, 3), (10, 11), (5, 8)]):
        results.add(number, "upstream", {"latency_1_p50": direct})
        results.add(number, "nginx", {"latency_1_p50": nginx})
        results.add(number, "hello", {"latency_1_p50": 1})
    results.derive()
    assert results.rows["added_latency_1_p50"] == {"nginx": [2, 1, 3]}
    assert results.median("added_latency_1_p50", "nginx") == 2


def test_a_round_that_failed_leaves_the_others_in_their_places():
    results = Results()
    results.add(0, "nginx", {"request_cpu": 1})
    results.add(0, "gateway", {"request_cpu": 20})
    results.add(2, "nginx", {"request_cpu": 10})
    results.add(2, "gateway", {"request_cpu": 300})
    assert results.rows["request_cpu"]["nginx"] == [1, None, 10]
    assert results.ratio("request_cpu", "gateway", "nginx") == 25


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(10.1, "fail"), (10, "pass"), (5.1, "pass"), (5, "pass, aim reached"), (None, "–")],
)
def test_a_target_is_judged_by_its_bar_and_its_aim(value, verdict):
    results = Results()
    results.add(0, "gateway", {"start": value})
    assert Target("start", "start", 10, 5).verdict(results) == verdict


def test_every_table_can_be_made_of_nothing_and_of_little():
    results = Results()
    assert [table[0] for table in report.tables(results, (1, 1000))] == ["Targets"]
    results.add(0, "gateway", {"first_token_1000_p50": 0.5, "stream_memory_1000": 30 * 1024})
    results.add(0, "nginx", {"first_token_1000_p50": 0.2})
    results.add_point("keys", 10, 4e-4)
    page = report.markdown(report.tables(results, (1, 1000)), ABOUT, ["a note\nof two lines"], [])
    assert "| first token, 1,000 opened at once, p50, ms | 200 | 500 |" in page
    assert "| first token, 1,000 opened at once, p50 | – | 2.50 | – | – |" in page
    assert "| memory per open stream, 1,000 open | 30.0 KiB | ≤ 40 KiB | 25 KiB | pass |" in page
    assert "10: 400" in page and page.endswith("- a note\n")


ABOUT = {
    "date": "2030-01-02",
    "rounds": 1,
    "versions": {"nginx": "1.2"},
    "machine": {"processor": "P", "cores": 2, "memory": "4 GiB", "system": "L", "python": "3"},
}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n12", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n", True),
    ],
)
def test_the_load_knows_when_an_answer_is_whole(answer, whole):
    assert load.complete(answer) is whole


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_tokens_are_counted_however_a_stream_is_cut(size):
    chunks = answers.Chunks(usage=True)
    data = chunks.first + b"".join(chunks.next) + chunks.last
    with load.Streams(0, 0, b"", TOKEN, expected=9) as streams:
        streams.poller.close()
        unregistered = []
        streams.poller = SimpleNamespace(unregister=unregistered.append, close=lambda: None)
        one = SimpleNamespace(number=5, received=b"", tokens=0, began=0.0)
        for at in range(0, len(data), size):
            streams.take(one, data[at : at + size])
    assert (streams.seen, len(streams.first), streams.ended, unregistered) == (9, 1, 1, [5])


@pytest.fixture
def upstream(tmp_path):
    server = Upstream(tmp_path).start()
    yield server
    server.stop()


def test_the_scripted_upstream_takes_whole_calls(upstream):
    requests = [upstream.request(bodies.small()), upstream.request(bodies.of_size(300_000))]
    with load.Whole(upstream.port, 3, requests, 50, answers.WHOLE_TOKEN) as running:
        running.run()
    assert len(running.latencies) == 50


def test_paced_connections_rest_after_each_answer(upstream):
    began = time.perf_counter()
    request = upstream.request(bodies.small())
    with load.Paced(upstream.port, 2, [request], 8, answers.WHOLE_TOKEN) as running:
        running.run()
    assert len(running.latencies) == 8
    assert time.perf_counter() - began > 3 * load.Paced.pause


def test_the_scripted_upstream_streams_as_it_is_told(upstream):
    upstream.script(5, 0.001)
    with load.Streams(upstream.port, 4, upstream.request(bodies.stream()), TOKEN, 5) as running:
        running.run()
    assert (running.seen, running.ended) == (20, 4)


def test_a_stream_that_ends_early_breaks_the_measurement(upstream):
    upstream.script(5, 0.001)
    request = upstream.request(bodies.stream())
    with load.Streams(upstream.port, 1, request, TOKEN, 6) as running:
        with pytest.raises(load.Broken, match="after 5 tokens"):
            running.run()


def test_open_streams_end_when_they_are_broken_off(upstream):
    upstream.script(10**9, 0.001)
    with load.Streams(upstream.port, 3, upstream.request(bodies.stream()), TOKEN) as running:
        running.open(5)
        assert len(running.first) == 3
        upstream.break_off()
        with pytest.raises(load.Broken, match="closed"):
            running.hold(5)


def test_a_wrong_answer_breaks_the_measurement(upstream):
    request = upstream.request(bodies.small())
    with load.Whole(upstream.port, 1, [request], 1, b"something else") as running:
        with pytest.raises(load.Broken, match="a wrong answer"):
            running.run()


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
def test_bodies_have_the_size_that_was_asked_for(size):
    body = bodies.of_size(size)
    assert abs(len(body) - size) < 10
    assert json.loads(body)["messages"][0]["role"] == "user"


def test_every_target_is_about_a_row_that_is_measured():
    rows = {row[0].replace("{n}", "1000") for row in report.ROWS}
    assert {target.row for target in TARGETS} <= rows


def environments():
    """Yield the environments of all processes that can be looked into."""
    for path in processes.PROC.glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


@pytest.mark.live
def test_a_quick_run_measures_the_gateway_and_leaves_nothing_running(tmp_path):
    path = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "gateway,hello,small,chunks,open"]
        + ["--json", str(path), "--into", str(tmp_path / "results")],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(path.read_text())
    assert found["notes"] == []
    for row in ("request_cpu", "chunk_cpu", "first_token_100_p50", "start"):
        assert found["rows"][row]["gateway"]["median"] > 0
    assert found["targets"][0]["value"] > 0.5
    assert "CPU per small chat" in (tmp_path / "results" / "latest.md").read_text()
    assert not [one for one in environments() if str(tmp_path).encode() in one]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["found.json", "results"]
