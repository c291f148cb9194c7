"""Metrics of real processes: true over workers, kills, reloads and recycling, and bounded."""

import contextlib
import json
import os
import random
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from gateway import mock
from tests.live.job_workers import JobWorker, Queue
from tests.live.promtool import promtool  # noqa: F401
from tests.live.raw import ask, chat, post, request
from tests.serving import Gateway, free_port, write_config
from tests.upstream import ScriptedUpstream, refused_url

pytestmark = pytest.mark.live

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACED = f"Content-Type: application/json\r\ntraceparent: {TRACE}\r\n"
DEAD = """
[[upstream]]
name = "dead"
base_url = "{}"

[[model]]
id = "dead-*"
upstreams = [{{ name = "dead", model = "*" }}]

[[model]]
id = "either"
upstreams = [{{ name = "dead", model = "gone", priority = 0 }}, {{ name = "mock", priority = 1 }}]

[retry]
attempts = 1
"""


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    """Two workers for the tests that leave them as they were."""
    with refused_url() as dead:
        path = write_config(tmp_path_factory.mktemp("two"), upstream.url, more=DEAD.format(dead))
        with Gateway(path, workers=2) as running:
            yield running


@pytest.fixture
def own(tmp_path, upstream):
    """Return a function that starts a gateway whose metrics lie in `tmp_path / "run"`."""
    (tmp_path / "run").mkdir()
    with contextlib.ExitStack() as stack:

        def start(**environ):
            environ = {"RUNTIME_DIRECTORY": str(tmp_path / "run"), **environ}
            path = write_config(tmp_path, upstream.url)
            return stack.enter_context(Gateway(path, workers=2, environ=environ))

        yield start


def wait_until(happened, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return found


def sample(gateway, name, **labels):
    """Return the sum of the samples that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = gateway.metrics().items()
    return sum(
        value
        for key, value in found
        if key.partition("{")[0] == name and all(label in key for label in wanted)
    )


def asked(gateway, count, model="gpt-test"):
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(ask, gateway.port, post(chat(model))) for _ in range(count)]
        return [found.result().status for found in done]


def requests(gateway, **labels):
    return sample(gateway, "gateway_requests_total", **labels)


def files(folder):
    """Return the folders of metrics, and the files in them."""
    folders = list((folder / "run").iterdir())
    return folders, [path.name for found in folders for path in found.iterdir()]


def test_what_a_killed_worker_has_counted_stays_and_its_gauges_go(own, tmp_path):
    gateway = own()
    assert set(asked(gateway, 30)) == {200}
    wait_until(lambda: requests(gateway, model="gpt-test", status="200") == 30)
    before = set(gateway.worker_pids())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(gateway.worker_pids()) - before) == 2)
    wait_until(lambda: len({name for name in files(tmp_path)[1] if "gauge_livesum" in name}) == 2)
    gateway.wait_ready()
    assert requests(gateway, model="gpt-test", status="200") == 30
    assert set(asked(gateway, 10)) == {200}
    wait_until(lambda: requests(gateway, model="gpt-test", status="200") == 40)
    assert not [name for name in files(tmp_path)[1] for pid in before if f"_{pid}." in name]


def test_reloads_keep_the_counts_and_leave_one_folder_with_the_files_of_two_workers(own, tmp_path):
    gateway = own()
    for turn in (1, 2, 3):
        assert set(asked(gateway, 10)) == {200}
        wait_until(lambda n=turn: requests(gateway, model="gpt-test", status="200") == 10 * n)
        before = set(gateway.worker_pids())
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda old=before: len(new := {*gateway.worker_pids()}) == 2 and not old & new)
        gateway.wait_ready()
    assert requests(gateway, model="gpt-test", status="200") == 30
    # Two that live, and the dead, of whom the last may have ended this very moment.
    wait_until(lambda: len({name.rpartition("_")[2] for name in files(tmp_path)[1]}) == 3)
    assert len(files(tmp_path)[0]) == 1

    gateway.stop()
    assert list((tmp_path / "run").iterdir()) == []


def test_recycled_workers_lose_no_count_and_leave_no_files(own, tmp_path):
    gateway = own(GUNICORN_CMD_ARGS="--max-requests 15 --max-requests-jitter 5")
    pids, calls = set(), 0

    def recycled():
        nonlocal calls
        assert set(asked(gateway, 20)) == {200}
        calls += 20
        pids.update(gateway.worker_pids())
        return len(pids) > 3

    wait_until(recycled)
    wait_until(lambda: requests(gateway, model="gpt-test", status="200") == calls)
    wait_until(lambda: len({name.rpartition("_")[2] for name in files(tmp_path)[1]}) <= 4)


def test_folder_of_a_killed_master_is_removed_by_the_next(own, tmp_path):
    gateway = own()
    workers = [psutil.Process(pid) for pid in gateway.worker_pids()]
    (left,), _ = files(tmp_path)
    gateway.process.kill()
    gateway.process.wait()
    psutil.wait_procs(workers, timeout=10)
    gateway.log_file.close()
    gateway.start()
    assert left not in files(tmp_path)[0] and len(files(tmp_path)[0]) == 1
    assert requests(gateway, model="gpt-test") == 0


def test_what_never_became_a_request_is_counted(gateway):
    before = requests(gateway, endpoint="other", status="400")
    coded = sample(gateway, "gateway_errors_total", code="bad_request")
    ask(gateway.port, b"GARBAGE /x\r\n\r\n")
    wait_until(lambda: requests(gateway, endpoint="other", status="400") == before + 1)
    assert sample(gateway, "gateway_errors_total", code="bad_request") == coded + 1


def test_made_up_models_paths_and_methods_make_no_series(gateway):
    def odd(number):
        name = f"{random.random()}"
        yield post(chat(f"no-{name}"))
        yield post(chat(f"mock-200-{name}"))
        yield request(f"GET /v1/{name} HTTP/1.1")
        yield request(f"M{number} /{name} HTTP/1.1")
        yield request(f"GET /{name} HTTP/1.1", f"User-Agent: {name}\r\n")
        yield request(f"GET /v1/models/{name} HTTP/1.1", auth="")

    def names():
        return {key.replace(",le=", " ").partition(" ")[0] for key in gateway.metrics()}

    for turn in range(3):
        for number in range(30 if turn else 3):
            for data in odd(number):
                ask(gateway.port, data)
        time.sleep(1)
        if turn == 0:
            seen = names()
    assert names() == seen


def test_upstream_that_is_gone_is_shown_open_and_its_openings_are_counted(gateway):
    def state():
        return sample(gateway, "gateway_upstream_state", upstream="dead", model="dead-*")

    assert state() == 0
    for number in range(8):
        assert ask(gateway.port, post(chat("dead-m"))).status == 502, number
    wait_until(lambda: state() == 1)
    assert sample(gateway, "gateway_upstream_state", upstream="mock", model="gpt-test") == 0
    assert sample(gateway, "gateway_breaker_opened_total", upstream="dead") >= 1
    assert sample(gateway, "gateway_tries_total", upstream="dead", outcome="connect") >= 8
    with urllib.request.urlopen(f"{gateway.ops_url}/readyz") as answer:
        found = json.load(answer)
    assert (found["status"], found["upstreams"]) in {("ok", "degraded"), ("ok", "ok")}


def test_failover_is_a_retry_and_carries_the_trace(gateway, upstream):
    before = sample(gateway, "gateway_retries_total", upstream="mock", outcome="200")
    data = post(chat("either"), headers=TRACED)
    reply = ask(gateway.port, data)
    assert reply.status == 200 and reply.headers["x-gateway-attempts"] == "dead:connect,mock:200"
    assert upstream.requests[-1].headers["traceparent"] == TRACE
    wait_until(
        lambda: sample(gateway, "gateway_retries_total", upstream="mock", outcome="200") > before
    )


def test_repeat_at_the_same_upstream_carries_the_trace(gateway, upstream):
    upstream.enqueue(mock.json({"error": {"message": "x"}}, status=500))
    seen = len(upstream.requests)
    data = post(chat(), headers=TRACED)
    assert ask(gateway.port, data).status == 200
    sent = [made.headers.get("traceparent") for made in upstream.requests[seen:]]
    assert sent == [TRACE, TRACE]


def test_both_listeners_say_the_same_of_readiness_without_secrets(gateway):
    api = ask(gateway.port, request("GET /readyz HTTP/1.1", auth="")).json
    with urllib.request.urlopen(f"{gateway.ops_url}/readyz") as answer:
        ops = json.load(answer)
    assert set(api) == set(ops) and {api["status"], ops["status"]} == {"ok"}
    text = json.dumps([api, ops])
    assert not [word for word in ("127.0.0.1", "sk-", "sqlite", "/") if word in text]


def test_version_and_gauges_are_there_from_the_start(gateway):
    found = gateway.metrics()
    assert [value for name, value in found.items() if name.startswith("gateway_build_info{")] == [1]
    assert found["gateway_database_away"] == found["gateway_limits_alone"] == 0
    wait_until(lambda: 'gateway_jobs{status="queued"}' in gateway.metrics(), 15)
    wait_until(lambda: gateway.metrics().get("gateway_jobs_oldest_seconds") == 0, 15)


def test_events_that_are_rare_are_counted_from_0_so_that_the_first_one_is_seen(gateway):
    kinds = ("requeued", "lost", "cancelled", "expired", "deleted")
    names = {f'gateway_jobs_swept_total{{what="{kind}"}}' for kind in kinds}
    names.add('gateway_breaker_opened_total{model="gpt-test",upstream="mock"}')
    names.add('gateway_breaker_opened_total{model="either",upstream="mock"}')
    wait_until(lambda: names <= gateway.metrics().keys())
    found = gateway.metrics()
    assert {found[name] for name in names} == {0}


def test_job_worker_tells_prometheus_itself(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, more="[jobs]\nconcurrency = 0\n")
    queue = Queue(path)
    id, port = queue.add(says="metrics"), free_port()
    calls = 'gen_ai_server_request_duration_seconds_count{gen_ai_operation_name="chat"'
    try:
        with JobWorker(path, "--metrics", f"127.0.0.1:{port}"):
            queue.wait(id, "completed", seconds=30)

            def counted():
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    rows = answer.read().decode().splitlines()
                return [row for row in rows if row.startswith(calls) and row.endswith(" 1.0")]

            wait_until(counted)
    finally:
        queue.close()


def test_promtool_finds_no_fault_with_the_text(gateway, promtool):  # noqa: F811
    with urllib.request.urlopen(f"{gateway.ops_url}/metrics") as answer:
        found = promtool("check", "metrics", stdin=answer.read())
    assert found.returncode in (0, 3), found.stderr  # 3: only advice, about names that are fixed
