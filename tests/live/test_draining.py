"""What SIGTERM does to connections: streams end, idle ones are let go, and time runs out."""

import signal
import sqlite3
import time
from contextlib import ExitStack, closing

import httpx2
import psutil
import pytest

from tests.live.raw import Reply, ask, chat, connected, post, request
from tests.live.test_operations import cli, wait_until
from tests.raw_client import events, read_all, read_until
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUTS = "body = 60\nidle = 60\ntotal = 60\nfirst_token = 60\nstream_total = 60\n"


def patient(tmp_path, upstream, **more):
    """Return a gateway whose calls may take a minute and whose drain lasts six seconds."""
    timeouts = {"timeouts": TIMEOUTS, "server": "drain = 6\n"}
    return Gateway(write_config(tmp_path, upstream.url, **timeouts), **more)


def rows(gateway):
    with closing(sqlite3.connect(gateway.folder / "gateway.db")) as database:
        asked = 'select request_id, status, code, "end" from usage order by id'
        return {row[0]: row[1:] for row in database.execute(asked)}


def term(gateway):
    gateway.process.send_signal(signal.SIGTERM)
    return time.monotonic()


def test_idle_connection_does_not_hold_up_the_end(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own, connected(own.port) as sock:
        sock.sendall(HEALTH)
        read_until(sock, b'{"status":"ok"}')

        began = term(own)
        own.process.wait(4)

        assert time.monotonic() - began < 4
        assert sock.recv(1) == b""


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_stop_in_the_midst_of_a_reload_takes_no_longer(upstream, tmp_path, delay):
    with patient(tmp_path, upstream, workers=2) as own:
        own.process.send_signal(signal.SIGHUP)
        time.sleep(delay)
        began = term(own)
        assert own.process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert not [line for line in own.log() if "SIGKILL" in line["message"]]


def test_kept_connection_has_one_more_answer_after_sigterm(upstream, tmp_path):
    """A proxy sends its next request at any moment, so none is closed without a warning."""
    with Gateway(write_config(tmp_path, upstream.url)) as own, ExitStack() as stack:
        socks = [stack.enter_context(connected(own.port)) for _ in range(5)]
        for sock in socks:
            sock.sendall(HEALTH)
            read_until(sock, b'{"status":"ok"}')
        term(own)
        for sock in socks:  # the last after a second
            time.sleep(0.2)
            sock.sendall(post(chat()).replace(b"Connection: close\r\n", b""))
            found, end = read_all(sock)
            assert (Reply(found).status, end) == (200, "FIN")
            assert Reply(found).headers["connection"] == "close"
        assert own.process.wait(5) == 0


def test_who_has_connected_is_served_although_the_listener_closes(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own, ExitStack() as stack:
        (pid,) = own.worker_pids()
        stopped = psutil.Process(pid)
        stopped.suspend()  # so that nobody accepts
        socks = [stack.enter_context(connected(own.port)) for _ in range(20)]
        for sock in socks:
            sock.sendall(post(chat()))
        term(own)
        wait_until(lambda: "Handling signal: term" in own.log_path.read_text())
        stopped.resume()
        assert {Reply(read_all(sock)[0]).status for sock in socks} == {200}
        assert own.process.wait(5) == 0


def test_stream_that_runs_ends_with_done_after_sigterm(upstream, tmp_path):
    body = chat("mock-slow-200", stream=True)
    with Gateway(write_config(tmp_path, upstream.url)) as own, connected(own.port) as sock:
        sock.sendall(post(body))
        read_until(sock, b"data: ")
        term(own)
        assert b"data: [DONE]" in read_until(sock, b"[DONE]")
        assert own.process.wait(5) == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_call_that_outlasts_the_drain_is_told_and_written_down(upstream, tmp_path, sign):
    """At the end of the drain, or at once, each call has an error of its own, a row and a line."""
    slow = "mock-slow-9000"
    bodies = [
        (chat(slow, stream=True), "/v1/chat/completions"),
        ({"model": slow, "input": "a b", "stream": True}, "/v1/responses"),
        (chat("mock-hang"), "/v1/chat/completions"),
    ]
    with patient(tmp_path, upstream) as own, ExitStack() as stack:
        socks = [stack.enter_context(connected(own.port)) for _ in bodies]
        heads = []
        for sock, (body, path) in zip(socks, bodies, strict=True):
            sock.sendall(post(body, path))
            heads.append(read_until(sock, b"data: ") if body.get("stream") else b"")
        half = stack.enter_context(connected(own.port))  # a body of which the end is missing
        half.sendall(post(chat())[:-5])
        wait_until(lambda: own.metrics()["gateway_in_flight"] == 3)
        own.process.send_signal(sign)
        began = time.monotonic()
        ends = [read_all(sock, 20) for sock in (*socks, half)]
        took = time.monotonic() - began
        if sign != signal.SIGHUP:
            assert own.process.wait(5) == 0
        replies = [Reply(head + data) for head, (data, _) in zip([*heads, b""], ends, strict=True)]
        check_told(replies)
        assert {end for _, end in ends} == {"FIN"}
        check_written(own, replies[:3])
        assert (took < 3.5) == (sign in (signal.SIGINT, signal.SIGQUIT)), took


def check_told(replies):
    streamed, response, whole, half = replies
    assert (streamed.status, response.status) == (200, 200)
    *_, last = events(streamed.body)
    assert last["error"]["code"] == "server_draining"
    *_, failed, done = events(response.body)
    assert failed["type"] == "response.failed" and done == "[DONE]"
    assert failed["response"]["error"]["code"] == "server_draining"
    for reply in (whole, half):
        assert (reply.status, reply.code) == (503, "server_draining")
        assert reply.headers["retry-after"] and reply.headers["connection"] == "close"


def check_written(gateway, replies):
    wait_until(lambda: len(rows(gateway)) == 3)
    found = rows(gateway)
    for reply, status in zip(replies, (200, 200, 503), strict=True):
        request_id = reply.headers["x-request-id"]
        assert found[request_id] == (status, "server_draining", "error")
        (line,) = gateway.wait_lines(request_id=request_id)
        assert (line["status"], line["code"], line["end"]) == found[request_id]


def test_readers_of_a_response_that_is_still_queued_are_told_where_to_go_on(upstream, tmp_path):
    """Its job says nothing, and goes back to the queue as late as the drain allows."""
    body = {"model": "mock-hang", "input": "a b", "background": True}
    with patient(tmp_path, upstream) as own, ExitStack() as stack:
        id = ask(own.port, post(body, "/v1/responses")).json["id"]
        socks = []
        for _ in range(8):  # whenever one looks around, which it does every 2 seconds
            socks.append(stack.enter_context(connected(own.port)))
            socks[-1].sendall(request(f"GET /v1/responses/{id}?stream=true HTTP/1.1"))
            time.sleep(0.25)
        term(own)
        ends = [read_all(sock, 20) for sock in socks]
        assert own.process.wait(5) == 0
        lines = own.wait_lines(len(socks), stream=True)
    for data, end in ends:
        *_, queued, last = events(Reply(data).body)
        assert (last["type"], last["code"], end) == ("error", "server_draining", "FIN")
        assert last["sequence_number"] == queued["sequence_number"] == 1
    found = [(line["status"], line["code"], line["end"]) for line in lines]
    assert found == [(200, "server_draining", "error")] * len(socks)


def test_stream_from_before_a_reload_has_the_drain_that_it_began_with(upstream, tmp_path):
    """Its worker goes by that; a master that went by a shorter one would kill it unheard."""
    more = {"timeouts": TIMEOUTS, "server": "drain = 9\n"}
    config = write_config(tmp_path, upstream.url, **more)
    with Gateway(config) as own, connected(own.port) as sock:
        sock.sendall(post(chat("mock-slow-9000", stream=True)))
        head = read_until(sock, b"data: ")
        config.write_text(config.read_text().replace("drain = 9", "drain = 3"))
        (before,) = own.worker_pids()
        own.process.send_signal(signal.SIGHUP)
        wait_until(lambda: {*own.worker_pids()} - {before})
        term(own)
        reply = Reply(head + read_all(sock, 20)[0])
        assert own.process.wait(5) == 0
        *_, last = events(reply.body)
        assert last["error"]["code"] == "server_draining"
        (line,) = own.wait_lines(request_id=reply.headers["x-request-id"])
        assert (line["code"], line["end"]) == ("server_draining", "error")
        assert rows(own) == {line["request_id"]: (200, "server_draining", "error")}


def ready(gateway):
    answer = httpx2.get(f"{gateway.ops_url}/readyz")
    return answer.status_code, answer.json()["traffic"]


def test_drain_is_seen_by_load_balancers_before_anything_closes(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url), workers=2) as own:
        assert ready(own) == (200, "ok")
        began = time.monotonic()
        assert cli(own, "drain", "--wait", "1").returncode == 0
        assert time.monotonic() - began > 1
        assert cli(own, "drain").returncode == 0  # once more changes nothing
        assert {ready(own) for _ in range(10)} == {(503, "draining")}
        with connected(own.port) as sock:
            sock.sendall(post(chat()))
            assert Reply(read_all(sock)[0]).status == 200

        orphans = [psutil.Process(pid) for pid in own.worker_pids()]
        own.process.send_signal(signal.SIGKILL)  # it had no time to take the flag down
        own.process.wait()
        drained = cli(own, "drain", check=False)
        assert (drained.returncode, drained.stderr.count("\n")) == (1, 1)
        assert drained.stderr.startswith(f"No gateway runs at 127.0.0.1:{own.port} ")
        psutil.wait_procs(orphans, 10)
        own.log_file.close()
        own.start()
        assert {ready(own) for _ in range(10)} == {(200, "ok")}
