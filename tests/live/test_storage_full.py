"""A disk without a byte left: database, spool, limits, temporary files and the log are on it."""

import signal
import time

import pytest

from tests.live.faults import assert_no_traceback
from tests.live.raw import JSON, ask, chat, post, request
from tests.live.storage import VolumeGateway
from tests.live.test_operations import wait_until
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

RESPONSES = "/v1/responses"
ASKED = {"model": "gpt-test", "input": "Hi"}
LATER = {
    "job": post(chat(), headers=JSON + "Prefer: respond-async\r\n"),
    "background": post({**ASKED, "background": True}, path=RESPONSES),
    "idempotent": post(chat(), headers=JSON + "Idempotency-Key: full\r\n"),
}


@pytest.fixture
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def gateway(tmp_path, upstream):
    with VolumeGateway(tmp_path, upstream, timeouts="total = 10") as running:
        yield running


def calls(secret):
    """Return requests that need no room on a disk, by a key that has limits."""
    auth = f"Authorization: Bearer {secret}\r\n"
    return [
        post(chat(), auth=auth),
        post(chat(stream=True), auth=auth),
        post(ASKED, path="/v1/embeddings", auth=auth),
        post(ASKED, path=RESPONSES, auth=auth),
    ]


def readiness(gateway):
    reply = ask(gateway.ops_port, request("GET /readyz HTTP/1.1"))
    return reply.status, reply.json["database"]


def served(gateway, secret):
    """Make one call of each kind; return their ids."""
    found = [ask(gateway.port, data) for data in calls(secret)]
    assert [reply.status for reply in found] == [200] * len(found), [r.body for r in found]
    return {reply.headers["x-request-id"] for reply in found}


def refused(gateway, upstream):
    """Assert that what has to be written down first is refused, and never reaches the upstream."""
    seen = upstream.received
    for name, data in LATER.items():
        reply = ask(gateway.port, data)
        assert (reply.status, reply.code) == (503, "dependency_unavailable"), name
        assert int(reply.headers["retry-after"]) >= 1 and b"Traceback" not in reply.body
    assert upstream.received == seen


def rows(gateway):
    return {row[0] for row in gateway.query("select request_id from usage")}


@pytest.mark.parametrize("touched", [True, False], ids=["limits kept", "limits not yet kept"])
def test_full_disk_stops_no_call_and_loses_no_usage(gateway, upstream, touched):
    secret = gateway.cli("keys", "create", "limited", "--rpm", "100000", "--tpm", "100000000")
    stored = ask(gateway.port, calls(secret)[-1] if touched else post(ASKED, path=RESPONSES))
    ids, pids = {stored.headers["x-request-id"]}, gateway.worker_pids()
    with gateway.full():
        for _ in range(30):
            ids |= served(gateway, secret)
            time.sleep(0.02)
        wait_until(lambda: readiness(gateway) == (200, "read_only"), 15)
        refused(gateway, upstream)
        found = ask(gateway.port, calls(secret)[-1]).json
        assert found["store"] is False  # it is paid for, but it cannot be kept
        auth = f"Authorization: Bearer {secret if touched else gateway.key}\r\n"
        path = f"{RESPONSES}/{stored.json['id']}"
        assert ask(gateway.port, request(f"GET {path} HTTP/1.1", auth=auth)).status == 200
        ids |= served(gateway, secret)
    assert {ask(gateway.port, data).status for data in LATER.values()} == {200, 202}
    ids |= served(gateway, secret)
    wait_until(lambda: ids <= rows(gateway), 15)
    wait_until(lambda: readiness(gateway) == (200, "ok"), 15)
    assert gateway.worker_pids() == pids
    assert gateway.metrics()["gateway_usage_dropped_total"] == 0


def test_log_on_a_full_disk_is_written_again_when_there_is_room(gateway):
    secret = gateway.cli("keys", "create", "known")
    served(gateway, secret)
    with gateway.full():
        for _ in range(10):
            served(gateway, secret)
            time.sleep(0.05)
        wait_until(lambda: gateway.metrics()["gateway_log_lines_dropped_total"] > 0, 10)
    ids = served(gateway, secret)
    wait_until(lambda: ids <= gateway.ids_there(), 10)
    log = (gateway.there / "gateway.log").read_bytes()
    assert_no_traceback(log)
    assert b'"status":500' not in log


def test_reload_on_a_full_disk_works(gateway):
    served(gateway, gateway.key)
    with gateway.full():
        old = set(gateway.worker_pids())
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (pids := set(gateway.worker_pids())) and not pids & old, 15)
        served(gateway, gateway.key)
        assert readiness(gateway)[0] == 200
