"""The soak's judgement: what is wrong is found, what a kill explains is not, on made-up books."""

import io
import json
import time
from collections import defaultdict
from types import SimpleNamespace

import pytest

from bench.soak import aside, checks, client, deferred, explained, samples
from bench.soak.kinds import KINDS

KIND = {kind.name: kind for kind in KINDS}
KILL = 100.0
ROW = {"end": "ok", "code": None, "usage_source": "upstream", "endpoint": "chat", "created_at": 0}


def call(kind="chat", outcome="200", began=90.0, ended=99.8, number=1, **more):
    found = client.Call(number, KIND[kind])
    found.began, found.ended, found.outcome, found.words = began, ended, outcome, 8
    for name, value in more.items():
        setattr(found, name, value)
    return found


def row(words=8, **more):
    return {**ROW, "input_tokens": words, "output_tokens": words, **more}


def books(asked=(), rows=(), jobs=(), **more):
    found = {
        "asked": defaultdict(list, {1: list(asked)}),
        "of_call": defaultdict(list, {1: list(rows)}),
        "rows": rows,
        "jobs": {f"job_{n}": {"status": status} for n, status in enumerate(jobs)},
    }
    return SimpleNamespace(**found | more)


BROKE = {"outcome": "broken", "broken": [(99.0, 100.1, "POST")]}
LONG_AGO = {"outcome": "broken", "broken": [(80.0, 90.0, "POST")]}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (call(), 0),
        (call(outcome="500 internal_error"), 1),
        (call(outcome="never ended"), 1),
        (call("chat, streamed", "done"), 0),
        (call("chat, streamed", "cut"), 1),
        (call("chat, streamed", "error upstream_reset"), 1),
        (call("upstream: cut in a stream", "error upstream_reset"), 0),
        (call("upstream: cut in a stream", "done"), 1),
        (call("wrong key", "200"), 1),
        (call(notes=["event 7 came behind 3"]), 1),
        (call(ended=100.1, **BROKE), 0),
        (call(ended=90.0, **LONG_AGO), 1),
        (call("job", "completed", broken=[(80.0, 90.0, "GET")]), 1),
        (call("job", "failed worker_lost", ended=130.0), 0),
        (call("job", "failed worker_lost"), 1),  # it had ended before the kill
        (call("chat", "503 worker_lost", ended=130.0), 1),  # it has no other worker
        (call("sent twice", "differ: 200", ended=130.0), 0),
        (call("sent twice", "differ: 200"), 1),
    ],
)
def test_an_end_is_allowed_explained_by_a_kill_or_wrong(found, wrong):
    assert len(explained.Ends([found], [KILL]).wrong) == wrong


BEFORE, DURING = (90.0, None, 98.9), (90.0, None, 99.5)
AFTER = (100.2, None, 100.3)
AT_ONCE = {"outcome": "broken", "broken": [(100.2, 100.3, "POST")]}


@pytest.mark.parametrize(
    ("found", "book", "wrong", "lost"),
    [
        (call(), books([DURING], [row()]), 0, 0),
        (call(), books([DURING], [row(7)]), 1, 0),
        (call(), books([DURING], [row(), row()]), 1, 0),
        (call(), books([DURING], [row(end="error")]), 1, 0),
        (call(), books([DURING]), 0, 1),  # in the killed process's last second
        (call(ended=98.9), books([BEFORE]), 1, 0),  # a second was over
        (call(ended=100.3, **AT_ONCE), books([AFTER]), 0, 1),  # the kill was under way
        (call(ended=100.3), books([AFTER]), 1, 0),  # its process has answered
        (call("wrong key", "401 invalid_api_key"), books([], [row()]), 1, 0),
        (call("bad body", "400"), books(), 0, 0),
        (call("upstream: 429", "429 rate_limit_exceeded"), books([], [row(end="error")]), 0, 0),
        (call("upstream: 429", "429 rate_limit_exceeded", ended=98.0), books(), 1, 0),
        (call("upstream: 429", "429 rate_limit_exceeded"), books(), 0, 1),
        (call("upstream: 500", "502 upstream_bad_response"), books([DURING] * 3), 0, 1),
        (call("sent twice"), books([DURING], [row(), row()]), 1, 0),
        (call("job", "completed"), books([DURING]), 1, 0),  # written with the job's end
        (call("job", "completed"), books([DURING, DURING], [row()]), 0, 0),
        (call("job, cancelled", "cancelled"), books(), 0, 0),
        (call("job, cancelled", "cancelled"), books([], [row(end="cancelled")]), 0, 0),
        (call("job, cancelled", "cancelled"), books([], [row(end="cancelled")] * 2), 1, 0),
        (call("models"), books(of_call=defaultdict(list, {None: [row()]})), 1, 0),  # nobody's
    ],
)
def test_rows_are_the_exchanges_less_what_a_kill_has_taken(found, book, wrong, lost):
    seen = explained.Rows([found], book, [KILL])
    assert (len(seen.wrong), seen.lost) == (wrong, lost)


@pytest.mark.parametrize(("before", "wrong"), [(0.3, 0), (2.0, 1), (-2.0, 1)])
def test_a_row_whose_log_line_a_kill_has_taken_is_somebodys(before, wrong):
    at = KILL - before + time.time() - time.monotonic()
    book = books([], of_call=defaultdict(list, {None: [row() | {"created_at": at}]}))
    assert len(explained.Rows([call("models")], book, [KILL]).wrong) == wrong


def test_how_a_response_ended_is_known_where_its_reader_left_before_done():
    error = {"code": "server_error"}
    failed = {"id": "resp_1", "status": "failed", "error": error}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}},
        {"type": "response.failed", "sequence_number": 1, "response": failed},
    ]
    reader = deferred.Reader(call("background, left and taken up"), None)
    assert reader.take(streaming(*map(json.dumps, events), "[DONE]"), leave=2) is None
    assert reader.take(streaming("[DONE]"), leave=None) == "failed server_error"
    assert reader.call.jobs == {"resp_1": "failed"}


def test_error_that_only_says_to_come_back_is_no_end():
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}
    error = {"type": "error", "code": "server_draining", "error": {"code": "server_draining"}}
    reader = deferred.Reader(call("background, left and taken up"), None)
    assert reader.take(streaming(json.dumps(created), json.dumps(error)), leave=2) is None
    done = {"type": "response.completed", "sequence_number": 1, "response": {"status": "completed"}}
    assert reader.take(streaming(json.dumps(done), "[DONE]"), leave=None) == "completed"


def streaming(*data):
    body = io.BytesIO("".join(f"data: {each}\n\n" for each in data).encode())
    return client.Stream(body, SimpleNamespace(close=lambda: None))


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ([(90.0, 90.1, 99.9)], 0),
        ([(90.0, None, 100.0), (105.0, 105.1, 106.0)], 0),  # nothing had come
        ([(99.0, 99.9, 100.0), (105.0, 105.1, 106.0)], 0),  # nor was on disk
        ([(90.0, 90.1, 100.0), (105.0, 105.1, 106.0)], 1),
    ],
)
def test_a_job_that_is_made_again_after_its_answer_began_is_found(asked, wrong):
    found = checks.jobs([call("job", "completed")], books(asked), [KILL])
    assert len(found.faults) == wrong and found.ok is not bool(wrong)


@pytest.mark.parametrize(
    ("heard", "status", "ok"),
    [
        ("completed", "completed", True),
        ("queued", "in_progress", False),
        ("cancelled", "completed", False),
        ("cancelled", "cancelled", True),
    ],
)
def test_a_job_that_hangs_or_changes_its_end_is_found(heard, status, ok):
    found = checks.jobs([call("job", heard, jobs={"job_0": heard})], books(jobs=[status]), [KILL])
    assert found.ok is ok


def test_a_job_that_is_gone_is_found():
    assert not checks.jobs([call("job", jobs={"job_7": "completed"})], books(), []).ok


@pytest.mark.parametrize(
    ("ids", "held", "ended", "ok"),
    [
        ([], 0, 90.0, True),
        (["rec_1"], 1, 90.0, False),  # no kill took a call
        (["rec_1"], 1, 130.0, True),
        (["rec_1", "rec_2"], 1, 130.0, False),
        ([], 2, 130.0, False),
        (["job_0"], 0, 130.0, False),
    ],
)
def test_a_recording_that_nobody_ends_and_a_name_that_nobody_frees_are_found(ids, held, ended, ok):
    book = books(jobs=["completed"], unended=ids, held_names=held)
    assert checks.recordings([call("sent twice", ended=ended)], book, [KILL]).ok is ok


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        ({"level": "error", "status": 502}, True),
        ({"level": "error", "status": 500}, False),
        ({"level": "error", "message": "a row was lost", "exception": {"type": "KeyError"}}, False),
        ({"level": "error", "message": "usage could not be written"}, False),
        ({"level": "error", "message": "Worker (pid:1) was sent SIGKILL! Perhaps …"}, True),
        ({"level": "warning", "message": "slow"}, True),
    ],
)
def test_errors_in_the_log_are_found(line, ok):
    assert checks.log(SimpleNamespace(lines=[line], odd=[])).ok is ok


def test_what_is_no_json_in_the_log_is_found():
    assert not checks.log(SimpleNamespace(lines=[], odd=["Traceback (most recent call last):"])).ok


@pytest.mark.parametrize(("over", "ok"), [(90.5, True), (95.0, False), (None, False)])
def test_an_upstream_call_that_outlives_its_client_is_found(over, ok):
    found = call("leaves a stream", "left", left=90.0)
    assert checks.leavers([found], books([(89.0, 89.1, over)])).ok is ok


@pytest.mark.parametrize(
    ("probe", "ok"),
    [((50.0, 0.01, 200), True), ((50.0, 0.01, 503), False), ((99.9, 0.3, "OSError"), True)],
)
def test_a_probe_that_fails_without_a_kill_is_found(probe, ok):
    assert checks.probes([probe], "/readyz", [KILL]).ok is ok


def sampled(growth, fds=0, seconds=200):
    """Return the line through a web worker that grows by so much a second."""
    points = [
        (t, {"pss": 0, "anon": 5e7 + growth * t, "fds": 40 + fds * t, "cpu": 0.0})
        for t in range(0, seconds, 5)
    ]
    found = samples.Samples(None, 5)
    found.found = [(t, {7: one}) for t, one in points]
    found.roles = {7: samples.WEB}
    return found.lines(seconds)


@pytest.mark.parametrize(
    ("growth", "seconds", "ok"), [(0, 200, True), (10_000, 200, True), (20_000, 200, False)]
)
def test_growing_memory_is_found(growth, seconds, ok):
    assert checks.memory(sampled(growth, seconds=seconds)).ok is ok


def test_a_large_body_that_is_under_way_is_no_growth():
    assert samples.lows([(0, 5), (5, 90), (10, 6), (15, 70), (20, 5)]) == [(0, 5), (20, 5)]


@pytest.mark.parametrize(("fds", "last", "ok"), [(0, 40, True), (1, 40, False), (0, 60, False)])
def test_growing_descriptors_are_found(fds, last, ok):
    assert checks.descriptors(sampled(0, fds), {7: {"fds": last}}).ok is ok


def test_a_short_run_says_that_it_could_not_look_at_memory():
    lines = sampled(10**9, seconds=60)
    assert checks.memory(lines).ok is None and checks.descriptors(lines, {}).ok is None


@pytest.mark.parametrize("seconds", [12, 60, 600, 10_800])
def test_every_operation_has_its_time_and_leaves_the_end_in_peace(seconds):
    steps = aside.plan(seconds)
    assert {what for _, what in steps} == {"reload", "kill web", "kill job", "keys", "usage"}
    replaced = [at for at, what in steps if what not in ("keys", "usage")]
    assert max(replaced) <= seconds * aside.BUSY and all(at <= seconds for at, _ in steps)


def test_every_kind_has_ends_and_names_are_its_own():
    assert all(kind.ends and kind.share for kind in KINDS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)
