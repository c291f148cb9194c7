"""Background responses of two gateways on one PostgreSQL, one of which is killed or ends."""

import contextlib
import json
import os
import signal
import threading
import time

import openai
import pytest

from gateway import mock
from tests.live.following import (
    LEASE,
    MODELS,
    TEXT,
    client_of,
    create,
    ended,
    followed,
    numbers,
    raw,
    scripted,  # noqa: F401
    serving,
    taken,
    without_pings,
)
from tests.live.job_workers import launch
from tests.live.twice import wait_for
from tests.test_postgres import server, url  # noqa: F401

pytestmark = pytest.mark.live


@pytest.fixture
def pair(tmp_path_factory, upstream, url):  # noqa: F811
    """Two gateways on one PostgreSQL; the second accepts and reads, but runs no jobs."""
    how = {"environ": {"GATEWAY_DATABASE_URL": url}, "command": launch(False, LEASE)}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving(tmp_path_factory.mktemp("pair"), upstream, more, **how))
            for more in ("", "[jobs]\nconcurrency = 0\n")
        ]


def test_two_gateways_share_their_responses(pair, upstream):
    one, two = pair
    with client_of(one) as first, client_of(two) as second:
        id = create(second, MODELS[0]).id
        live = followed(one, id, 2)
        assert ended(second, id).output_text == TEXT == ended(first, id).output_text
        assert followed(two, id)[3:] == live == followed(two, id, 2)

        begun = taken(create(second, MODELS[1], stream=True), 8)
        id = begun[0]["response"]["id"]
        assert begun + followed(one, id, begun[-1]["sequence_number"]) == followed(two, id)

        seen = upstream.received
        id = create(first, "mock-endless-50").id
        request = upstream.wait_for(seen + 1)[-1]
        time.sleep(0.5)
        assert second.responses.retrieve(id).status == "in_progress"
        second.responses.cancel(id)
        assert request.closed.wait(2)
        assert ended(second, id) == ended(first, id)
        assert ended(first, id).status == "cancelled"
        assert without_pings(raw(one, id)) == without_pings(raw(two, id))
        first.responses.delete(id)
        with pytest.raises(openai.NotFoundError):
            second.responses.retrieve(id)


def kill(gateway):
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)


def test_worker_killed_in_mid_stream_fails_the_response_for_all_readers(pair, upstream):
    one, two = pair
    with client_of(two) as client:
        seen, found = upstream.received, []
        id = create(client, "mock-endless-50").id
        upstream.wait_for(seen + 1)
        readers = [
            threading.Thread(target=lambda: found.append(without_pings(raw(two, id))))
            for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        wait_for(lambda: len(taken(client.responses.retrieve(id, stream=True), 8)) == 8)
        kill(one)
        for reader in readers:
            reader.join(30)
        assert len(found) == 3 and len(set(found)) == 1
        events = followed(two, id)
        assert numbers(events) == list(range(len(events))) and len(events) > 8
        assert [event["type"] for event in events].count("response.failed") == 1
        assert events[-1]["type"] == "response.failed"
        last = client.responses.retrieve(id)
        assert (last.status, last.error.code) == ("failed", "server_error")
        assert events[-1]["response"] == last.to_dict()
        job = client.get(f"/jobs/{id}", cast_to=object)
        assert (job["error"]["code"], job["attempts"]) == ("worker_lost", 1)
        time.sleep(1)
        assert upstream.received == seen + 1


def test_worker_killed_before_any_event_is_not_noticed_by_readers(pair, upstream):
    one, two = pair
    upstream.enqueue(mock.hang(15))
    with client_of(two) as client:
        seen, found = upstream.received, []
        id = create(client).id
        upstream.wait_for(seen + 1)
        reader = threading.Thread(target=lambda: found.append(followed(two, id)))
        reader.start()
        time.sleep(0.5)
        kill(one)
        reader.join(30)
        (events,) = found
        assert numbers(events) == list(range(len(events)))
        assert events[-1]["type"] == "response.completed"
        assert events == followed(two, id)
        assert client.get(f"/jobs/{id}", cast_to=object)["attempts"] == 2
        assert client.responses.retrieve(id).output_text == TEXT


def test_reader_is_sent_on_when_its_gateway_ends(pair, upstream):
    one, two = pair
    with client_of(two) as client:
        id = create(client, "mock-endless-50").id
        found = []
        reader = threading.Thread(target=lambda: found.append(raw(two, id)))
        reader.start()
        time.sleep(1)
        two.process.send_signal(signal.SIGTERM)
        reader.join(20)
        assert two.process.wait(20) == 0
    last = json.loads(found[0].strip().splitlines()[-1].removeprefix(b"data: "))
    assert (last["type"], last["code"]) == ("error", "server_draining")
    with client_of(one) as client:
        rest = taken(
            client.responses.retrieve(id, stream=True, starting_after=last["sequence_number"]), 3
        )
        assert numbers(rest)[0] == last["sequence_number"] + 1
        client.responses.cancel(id)
