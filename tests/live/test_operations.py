"""Running it: keys, workers, reloads, crashes and logs, on real processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.live.raw import ask, chat, connected, post, request
from tests.raw_client import read_until
from tests.serving import KEY, ROOT, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

MODELS = request("GET /v1/models HTTP/1.1")
MORE = """
[[model]]
id = "added"
upstreams = [{{ name = "{}" }}]
"""


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    """Two workers for all tests that leave them as they were."""
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(write_config(folder, upstream.url), workers=2) as running:
        yield running


@pytest.fixture
def own_gateway(tmp_path, upstream):
    """Two workers for a test that changes or ends them."""
    with Gateway(write_config(tmp_path, upstream.url), workers=2) as running:
        yield running


def cli(gateway, *arguments, check=True):
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(gateway.config),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    return subprocess.run(
        command, cwd=gateway.folder, env=environ, check=check, capture_output=True, text=True
    )


def bearer(key):
    return request("GET /v1/models HTTP/1.1", auth=f"Authorization: Bearer {key}\r\n")


def wait_until(happened, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return found


def listed(gateway):
    """Return the ids of the models, or none while nobody answers."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return {model["id"] for model in ask(gateway.port, MODELS).json["data"]}
    return set()


def counted(gateway, **labels):
    """Return how many requests the metrics tell of, over all workers."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    samples = gateway.metrics().items()
    return sum(
        value
        for name, value in samples
        if name.startswith("gateway_requests_total{") and all(label in name for label in wanted)
    )


def test_new_key_works_at_once_and_a_revoked_one_nowhere_within_5_seconds(gateway):
    made = cli(gateway, "keys", "create", "mine")
    key = made.stdout.strip()
    assert {ask(gateway.port, bearer(key)).status for _ in range(20)} == {200}

    cli(gateway, "keys", "revoke", f"key_{key[3:15]}")
    revoked = time.monotonic()
    wait_until(lambda: {ask(gateway.port, bearer(key)).status for _ in range(20)} == {401})
    assert time.monotonic() - revoked < 5
    assert {ask(gateway.port, bearer(key)).status for _ in range(20)} == {401}


def test_metrics_are_true_over_two_workers(gateway):
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(ask, gateway.port, post(chat())) for _ in range(60)]
        assert {found.result().status for found in done} == {200}
    ask(gateway.port, post(chat("mock-400")))
    ask(gateway.port, post(chat("nope")))

    wait_until(lambda: counted(gateway, model="gpt-test", status="200") == 60, 3)
    wait_until(lambda: counted(gateway, model="mock-*", status="400") == 1, 3)
    wait_until(lambda: counted(gateway, model="other", status="404") == 1, 3)
    labels = '{gen_ai_operation_name="chat",gen_ai_request_model="gpt-test"}'
    duration = f"gen_ai_server_request_duration_seconds_count{labels}"
    assert gateway.metrics()[duration] == 60
    assert counted(gateway, model="nope") == 0


def test_calls_in_flight_are_counted_over_two_workers_and_forgotten_with_a_dead_one(gateway):
    def in_flight():
        return gateway.metrics()["gateway_in_flight"]

    with contextlib.ExitStack() as stack:
        for _ in range(6):
            sock = stack.enter_context(connected(gateway.port))
            sock.sendall(post(chat("mock-slow-1000", stream=True)))
            read_until(sock, b"data: ")
        wait_until(lambda: in_flight() == 6, 3)
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(listed(gateway)) > 0)
        wait_until(lambda: in_flight() == 0, 3)


def test_killed_worker_is_replaced_and_the_others_go_on(gateway):
    first, *_ = wait_until(lambda: len(pids := gateway.worker_pids()) == 2 and pids)
    os.kill(first, signal.SIGKILL)

    wait_until(lambda: len(set(gateway.worker_pids()) - {first}) == 2)
    assert {ask(gateway.port, post(chat())).status for _ in range(10)} == {200}


def test_hangup_brings_a_changed_configuration_and_lets_streams_end(own_gateway):
    with connected(own_gateway.port) as sock:
        sock.sendall(post(chat("mock-slow-300", stream=True)))
        read_until(sock, b"data: ")
        text = own_gateway.config.read_text()
        own_gateway.config.write_text(text + MORE.format("mock"))
        own_gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "added" in listed(own_gateway))
        rest = read_until(sock, b"0\r\n\r\n")
    assert b"data: [DONE]" in rest

    wait_until(lambda: all("added" in listed(own_gateway) for _ in range(10)))
    assert ask(own_gateway.port, post(chat("added"))).status == 200


def test_hangup_with_a_broken_configuration_keeps_the_old_one_and_says_why(own_gateway):
    text = own_gateway.config.read_text()
    before = set(own_gateway.worker_pids())
    own_gateway.config.write_text(text + MORE.format("mokc"))
    own_gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(set(own_gateway.worker_pids()) - before) == 2)

    assert ask(own_gateway.port, post(chat())).status == 200
    assert "added" not in listed(own_gateway)
    (mistake,) = [line for line in own_gateway.log() if "mistakes" in line.get("message", "")]
    assert mistake["level"] == "error"
    assert 'no upstream has this name, did you mean "mock"?' in mistake["message"]

    own_gateway.config.write_text(text + MORE.format("mock"))
    own_gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "added" in listed(own_gateway))


def test_stop_lets_streams_end_and_exits_with_0(own_gateway):
    with connected(own_gateway.port) as sock:
        sock.sendall(post(chat("mock-slow-300", stream=True)))
        read_until(sock, b"data: ")
        own_gateway.process.send_signal(signal.SIGTERM)
        rest = read_until(sock, b"0\r\n\r\n")
    assert b"data: [DONE]" in rest
    assert own_gateway.process.wait(10) == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_master_takes_its_workers_with_it_however_it_ends(own_gateway, sign):
    workers = [psutil.Process(pid) for pid in own_gateway.worker_pids()]
    with connected(own_gateway.port), connected(own_gateway.port) as sock:  # one idle, one busy
        sock.sendall(post(chat("mock-slow-1000", stream=True)))
        read_until(sock, b"data: ")
        own_gateway.process.send_signal(sign)
        gone, alive = psutil.wait_procs(workers, timeout=10)  # an orphan drains for up to 3

    assert len(gone) == 2 and not alive


def test_no_key_and_no_prompt_is_in_a_log_a_metric_or_the_database(gateway):
    prompt, guess = "CANARY-prompt", "sk-CANARYkeyxxx-" + "c" * 43
    turns = [{"role": "user", "content": prompt}]
    bodies = [
        {"model": model, "messages": turns, "stream": stream, "user": prompt}
        for model in (
            "gpt-test",
            "mock-400",
            "mock-500",
            "mock-html",
            "mock-401",
            "mock-cut-after-2",
        )
        for stream in (False, True)
    ]
    bodies += [
        {"model": "gpt-test", "messages": prompt},
        {"model": "gpt-test", "messages": turns, "temperature": prompt},
        b'{"model": "gpt-test", "messages": ["CANARY-prompt',
    ]
    for body in bodies:
        ask(gateway.port, post(body))
    ask(gateway.port, post({"model": "gpt-test", "input": prompt}, "/v1/embeddings"))
    unstored = {"model": "gpt-test", "input": prompt, "store": False}
    ask(gateway.port, post(unstored, "/v1/responses"))
    ask(gateway.port, bearer(guess))
    ask(gateway.port, request(f"GET /v1/models?key={guess} HTTP/1.1"))
    ask(
        gateway.port,
        request("GET /v1/models HTTP/1.1", f"X-Client-Request-Id: {guess} {prompt}\r\n"),
    )
    ask(gateway.port, request("GET /v1/models HTTP/1.1", f"X_Odd: {guess}\r\n"))
    ask(gateway.port, b"GARBAGE %s %s\r\n\r\n" % (guess.encode(), prompt.encode()))
    gateway.wait_lines(1, method=None)
    time.sleep(1.5)  # usage is written once a second

    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    written = [path for path in files if path.name != "gateway.toml"]
    assert {"gateway.log", "gateway.db"} <= {path.name for path in written}
    kept = [path.read_bytes() for path in written] + [repr(gateway.metrics()).encode()]
    for secret in (b"CANARY", KEY.encode(), b"sk-upstream-secret"):
        assert not [data for data in kept if secret in data]


def test_every_request_has_one_log_line_with_the_names_that_last(gateway):
    reply = ask(gateway.port, post(chat(stream=True)))
    (line,) = gateway.wait_lines(request_id=reply.headers["x-request-id"])

    assert list(line) == [
        "ts", "level", "request_id", "client_request_id", "key", "method", "path", "endpoint",
        "model", "upstream", "attempts", "status", "code", "stream", "ttft_ms", "total_ms",
        "upstream_ms", "input_tokens", "output_tokens", "end",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    assert re.fullmatch(r"key_[0-9A-Za-z]{12}", line["key"])
    expected = {"level": "info", "endpoint": "chat", "model": "gpt-test", "upstream": "mock",
                "status": 200, "code": None, "stream": True, "end": "ok", "path":
                "/v1/chat/completions", "method": "POST", "attempts": "mock:200"}  # fmt: skip
    assert {name: line[name] for name in expected} == expected
    assert line["input_tokens"] > 0 and line["output_tokens"] > 0
    assert 0 < line["ttft_ms"] <= line["total_ms"]
