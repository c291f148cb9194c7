"""Background responses end to end: the official SDK over two workers."""

import contextlib
import http.client
import threading
import time

import openai
import pytest

from gateway import mock
from tests.live.following import (
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
    valid,
    without_pings,
)
from tests.live.twice import wait_for
from tests.serving import KEY

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    """One gateway of two workers, so that many calls come to another one than runs the job."""
    with serving(tmp_path_factory.mktemp("background"), upstream, workers=2) as found:
        yield found


@pytest.fixture
def client(gateway):
    with client_of(gateway) as found:
        yield found


@pytest.mark.parametrize("model", ["gpt-test", "chat-gpt", *MODELS])
def test_sdk_creates_and_polls(client, model):
    made = create(client, model)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    found = ended(client, made.id)
    assert (found.id, found.status, found.output_text) == (made.id, "completed", TEXT)
    assert found.created_at == made.created_at and found.usage.total_tokens > 0
    job = client.get(f"/jobs/{made.id}", cast_to=object)
    assert (job["status"], job["result"]["body"]["id"]) == ("completed", made.id)


@pytest.mark.parametrize("model", MODELS)
def test_who_leaves_in_mid_stream_comes_back_on_any_worker(gateway, client, model):
    first = taken(create(client, model, stream=True), 6)
    id, found = first[0]["response"]["id"], list(first)
    assert [event["type"] for event in first[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    while found[-1]["type"] != "response.completed":
        with client_of(gateway) as own:  # a new connection, which either worker may take
            last = found[-1]["sequence_number"]
            found += taken(own.responses.retrieve(id, stream=True, starting_after=last), 4)
    assert numbers(found) == list(range(len(found)))
    assert found == followed(gateway, id)
    text = "".join(e["delta"] for e in found if e["type"] == "response.output_text.delta")
    assert text == TEXT == client.responses.retrieve(id).output_text


def test_sdk_s_helper_takes_a_stream_up_again(client):
    with client.responses.stream(model=MODELS[0], input=TEXT, background=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    id = stream._state._ResponseStreamState__current_snapshot.id
    after = event.sequence_number
    with client.responses.stream(response_id=id, starting_after=after) as stream:
        rest = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert rest == list(range(after + 1, after + 1 + len(rest)))
    assert (final.id, final.status, final.output_text) == (id, "completed", TEXT)


def test_twenty_readers_get_equal_bytes(gateway, client):
    id = create(client, MODELS[0]).id
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(without_pings(raw(gateway, id))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1
    assert found[0] == raw(gateway, id) and found[0].endswith(b"data: [DONE]\n\n")
    assert len(set(numbers(followed(gateway, id)))) == found[0].count(b"event: ")


@pytest.mark.parametrize("model", ["mock-endless-50", "chat-mock-endless-50"])
def test_cancel_closes_the_upstream_and_ends_the_stream(gateway, client, upstream, model):
    seen, found = upstream.received, []
    id = create(client, model).id
    request = upstream.wait_for(seen + 1)[-1]
    reader = threading.Thread(target=lambda: found.append(followed(gateway, id)))
    reader.start()
    time.sleep(0.5)
    began = time.monotonic()
    answer = client.responses.cancel(id)
    assert request.closed.wait(2)
    assert request.closed_at - began < 2
    reader.join(10)
    answer = answer if answer.status == "cancelled" else ended(client, id)
    assert (answer.id, answer.status, answer.error) == (id, "cancelled", None)
    assert answer.output_text  # what had come
    assert client.responses.cancel(id) == client.responses.retrieve(id) == answer
    (events,) = found
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"] == answer.to_dict()


def test_delete_of_one_that_runs_closes_its_upstream(gateway, client, upstream):
    seen = upstream.received
    id = create(client, "mock-endless-50").id
    request = upstream.wait_for(seen + 1)[-1]
    client.responses.delete(id)
    assert request.closed.wait(2)
    for look in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            look(id)
    assert b"response_not_found" in raw(gateway, id)


def test_delete_by_a_client_that_does_not_wait_deletes_all_the_same(gateway, client, upstream):
    seen = upstream.received
    id = create(client, "mock-endless-50").id
    request = upstream.wait_for(seen + 1)[-1]
    time.sleep(0.5)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    with contextlib.closing(connection):
        head = {"Authorization": f"Bearer {KEY}"}
        connection.request("DELETE", f"/v1/responses/{id}", headers=head)
        time.sleep(0.05)
    assert request.closed.wait(3)
    with pytest.raises(openai.NotFoundError):
        wait_for(lambda: not client.responses.retrieve(id))


def test_failure_is_told_in_the_sdk_s_words(client):
    found = ended(client, create(client, "mock-500").id)
    assert (found.status, found.error.code) == ("failed", "server_error")
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, store=False)
    assert refused.value.param == "store"
    with pytest.raises(openai.NotFoundError):
        create(client, previous_response_id="resp_" + "0" * 32)


def test_chain_of_background_responses(client):
    first = ended(client, create(client).id)
    second = client.responses.create(
        model="gpt-test", input="And?", background=True, previous_response_id=first.id
    )
    with pytest.raises(openai.BadRequestError, match="is still"):
        slow = create(client, "mock-late-500")
        create(client, previous_response_id=slow.id)
    assert ended(client, second.id).output_text == "And?"
    said = [item.content[0].text for item in client.responses.input_items.list(second.id)]
    assert said == ["And?", TEXT, TEXT]


@pytest.mark.parametrize("stream", [False, True])
def test_ten_posts_with_one_idempotency_key_are_one_response(gateway, upstream, stream):
    before, name, found = upstream.received, f"background-{stream}", []

    def post():
        with client_of(gateway) as own:
            made = create(own, MODELS[0], stream=stream, extra_headers={"Idempotency-Key": name})
            found.append(valid(made) if stream else made.to_dict())

    threads = [threading.Thread(target=post) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10 and all(each == found[0] for each in found)
    id = found[0][0]["response"]["id"] if stream else found[0]["id"]
    with client_of(gateway) as own:
        assert ended(own, id).output_text == TEXT
    assert upstream.received - before == 1


def test_client_that_leaves_is_noticed_and_the_response_goes_on(gateway, client, upstream):
    go = threading.Event()
    upstream.enqueue(lambda request: go.wait(20) and mock.responses(TEXT)(request))
    head = {"Authorization": f"Bearer {KEY}", "X-Client-Request-Id": "leaver"}
    id = create(client).id
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/responses/{id}?stream=true", headers=head)
        answer = connection.getresponse()
        while b"keepalive" not in answer.readline():
            pass
    (line,) = gateway.wait_lines(1, 5, client_request_id="leaver")
    assert (line["status"], line["end"], line["stream"]) == (200, "cancelled", True)
    go.set()
    assert ended(client, id).status == "completed"
