"""What is changed while it serves: each change is felt by new calls, and no call fails of it."""

import contextlib
import sqlite3

import httpx2
import pytest

from tests.live.load import Load
from tests.live.raw import JSON, ask, chat, post
from tests.live.test_operations import cli, wait_until
from tests.live.test_process_reload import PATIENT, hang_up
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

MORE = """
[[model]]
id = "priced"
upstreams = [{ name = "mock", model = "upstream-model" }]
price = { input = 1, output = 4 }

[[model]]
id = "leaves"
upstreams = [{ name = "mock", model = "upstream-model" }]

[jobs]
concurrency = 2
per_key = 1
"""
COMES = """
[[upstream]]
name = "other"
base_url = "$OTHER"

[[model]]
id = "comes"
upstreams = [{ name = "other", model = "upstream-model" }]

[responses]
store = false
"""
CHANGES = {
    "[server]": "[server]\nmax_body_mb = 1",
    "{ input = 1, output = 4 }": "{ input = 3, output = 5 }",
    'id = "leaves"': 'id = "stays"',
    "concurrency = 2\nper_key = 1": "concurrency = 0\nper_key = 2",
}


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def own(tmp_path, upstream):
    config = write_config(tmp_path, upstream.url, more=MORE, **PATIENT)
    with Gateway(config, workers=2) as running:
        yield running


def everywhere(seen, times=8):
    """Wait until so many calls in a row, which any worker may get, see it."""
    wait_until(lambda: all(seen() for _ in range(times)), 20)


def told(own, model):
    """Return what names the answer to a chat: its upstream, or its error."""
    answer = ask(own.port, post(chat(model)))
    return answer.headers.get("x-gateway-upstream") or answer.code


def cost(own):
    """Return the nano-USD of one priced call by its row of usage."""
    asked = ask(own.port, post(chat("priced"))).headers["x-request-id"]
    query = "select cost from usage where request_id = ?"

    def row():
        with contextlib.closing(sqlite3.connect(own.folder / "gateway.db")) as database:
            return database.execute(query, [asked]).fetchone()

    return wait_until(row)[0]


def large(own):
    return ask(own.port, post(chat(user="x" * 1_100_000))).status


def stored(own):
    body = {"model": "gpt-test", "input": "one two"}
    return ask(own.port, post(body, "/v1/responses")).json["store"]


def queued(own):
    """Return how many jobs of one key are taken that nobody runs."""
    async_post = post(chat("mock-slow-9000"), headers=JSON + "Prefer: respond-async\r\n")
    statuses = [ask(own.port, async_post).status for _ in range(3)]
    assert set(statuses) <= {202, 429}
    return statuses.count(202)


def jobs(own):
    return httpx2.get(f"{own.ops_url}/readyz").json()["jobs"]


def test_reload_brings_models_upstreams_prices_jobs_and_bounds(own):
    with ScriptedUpstream() as other, Load(own.port) as load:
        before = told(own, "leaves"), told(own, "comes"), large(own), stored(own), jobs(own)
        assert before == ("mock", "model_not_found", 200, True, "ok")
        assert cost(own) == 2 * 1000 + 2 * 4000
        text = own.config.read_text() + COMES.replace("$OTHER", other.url)
        for old, new in CHANGES.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        own.config.write_text(text)
        hang_up(own)
        everywhere(lambda: told(own, "comes") == "other")
        everywhere(lambda: told(own, "leaves") == "model_not_found")
        everywhere(lambda: jobs(own) == "off")
        assert (large(own), stored(own), queued(own)) == (413, False, 2)
        assert cost(own) == 2 * 3000 + 2 * 5000
        load.more(50)
    assert set(load.outcomes) == {200}, load.outcomes


def test_mistake_at_a_reload_is_named_and_changes_nothing_for_anybody(own):
    with Load(own.port) as load:
        text = own.config.read_text().replace('{ name = "mock", model = "mock-*" }', "{}")
        own.config.write_text(text.replace("[server]", "[server]\nmax_body_mb = 1"))
        hang_up(own)
        load.more(50)
        assert (large(own), told(own, "mock-200")) == (200, "mock")
    assert set(load.outcomes) == {200}, load.outcomes
    (line,) = [line for line in own.log() if "mistakes" in line.get("message", "")]
    number = 1 + own.config.read_text().splitlines().index("upstreams = [{}]")
    assert line["level"] == "error"
    assert f"gateway.toml:{number}: model[1].upstreams[0].name: is missing" in line["message"]


def test_keys_are_made_bounded_and_revoked_without_a_reload(own):
    workers = own.worker_pids()
    with Load(own.port) as load:
        key = cli(own, "keys", "create", "mine", "--rpm", "1000").stdout.strip()
        id, auth = f"key_{key[3:15]}", f"Authorization: Bearer {key}\r\n"

        def answer(model="gpt-test"):
            found = ask(own.port, post(chat(model), auth=auth))
            return found.status, found.headers.get("x-ratelimit-limit-requests")

        assert {answer() for _ in range(8)} == {(200, "1000")}
        cli(own, "keys", "update", id, "--rpm", "500", "--models", "gpt-*")
        everywhere(lambda: answer() == (200, "500") and answer("priced") == (404, "500"))
        cli(own, "keys", "update", id, "--rpm", "none")
        everywhere(lambda: answer() == (200, None))
        cli(own, "keys", "revoke", id)
        everywhere(lambda: answer()[0] == 401)
        load.more(50)
    assert set(load.outcomes) == {200}, load.outcomes
    assert own.worker_pids() == workers
