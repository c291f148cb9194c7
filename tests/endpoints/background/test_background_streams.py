"""The streams of background responses: from any event on, live or ended."""

import threading

import pytest

from gateway import errors, watch
from gateway.tables import recordings
from tests.contracts.queueing import later, sweep
from tests.endpoints.background.asking import (
    EVENT,
    TEXT,
    TOOL,
    accepted,
    ask,
    begin,
    get,
    kinds,
    response,
    rows,
    run,
    streamed,
    told,
    wait_for,
)
from tests.endpoints.refused import refused
from tests.endpoints.storing import GOOD, RESPONSES, UNKNOWN, answering
from tests.raw_client import events

DRAINING = errors.ServerDraining.code


@pytest.mark.parametrize("model", ["gpt-test", "chat-only", "whole-only", "mock-careless", "kept"])
def test_stream_begins_with_the_queue_and_holds_every_event(client, services, model):
    id = accepted(client, model=model)["id"]
    run(services)
    found = streamed(client, id)

    assert kinds(found)[:3] == ["created", "queued", "in_progress"]
    if model != "whole-only":  # which cannot stream but in the background
        direct = client.post(RESPONSES, json={**GOOD, "model": model, "stream": True})
        assert kinds(found)[2:] == kinds(told(direct.data))[1:]
    assert "".join(e["delta"] for e in found if e["type"].endswith("text.delta")) == TEXT
    about = [event["response"] for event in found if "response" in event]
    assert [each["status"] for each in about] == ["queued", "queued", "in_progress", "completed"]
    same = ("id", "created_at", "background", "store", "model")
    assert len({tuple(each[name] for name in same) for each in about}) == 1


def test_tool_calls_are_streamed_and_kept(client, services, upstream):
    call = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1"}
    upstream.enqueue(answering({**call, "name": "f", "arguments": "{}"}))
    id = accepted(client, tools=[TOOL], model="whole-only")["id"]
    run(services)
    assert "function_call_arguments.done" in kinds(streamed(client, id))
    assert response(client, id)["output"][0]["call_id"] == "call_1"


def test_stream_is_followed_while_it_grows(client, services, upstream, loops):
    id = accepted(client)["id"]
    answer = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False)
    blocks = iter(answer.response)
    data = next(blocks)
    assert kinds(events(data)) == ["created", "queued"]
    job, thread = begin(services, upstream)
    data += b"".join(blocks)
    thread.join()
    answer.close()
    assert told(data) == streamed(client, id)


@pytest.mark.parametrize("after", [0, 1, 2, 5, 11, 12, 13, 99, 10**17])
def test_stream_goes_on_behind_a_number(client, services, after):
    id = accepted(client)["id"]
    run(services)
    everything = streamed(client, id)
    rest = streamed(client, id, f"?stream=true&starting_after={after}&include_obfuscation=false")
    assert rest == everything[after + 1 :]


@pytest.mark.parametrize("given", ["x", "-1", "", "1.5", "9" * 30, "%00", "٣"])
@pytest.mark.parametrize("stream", ["stream=true&", "stream=false&", ""])
def test_bad_number_is_refused(client, given, stream):
    id = accepted(client)["id"]
    answer = get(client, id, f"?{stream}starting_after={given}")
    refused(answer, 400, "invalid_value", "starting_after")


@pytest.mark.parametrize("stream", ["stream=false&", ""])
def test_number_means_nothing_without_a_stream(client, services, stream):
    id = accepted(client)["id"]
    run(services)
    for after in (0, 99):
        assert get(client, id, f"?{stream}starting_after={after}").json == get(client, id).json


def test_word_that_is_no_boolean_is_refused(client):
    refused(get(client, UNKNOWN, "?stream=perhaps"), 400, "invalid_value", "stream")


def test_response_that_ran_at_once_is_not_streamed_again(client):
    id = client.post(RESPONSES, json=GOOD).json["id"]
    refused(get(client, id, "?stream=true"), 400, "unsupported_parameter", "stream")
    refused(client.post(f"{RESPONSES}/{id}/cancel"), 400, "invalid_value")
    refused(get(client, UNKNOWN, "?stream=true"), 404, "response_not_found")
    refused(client.post(f"{RESPONSES}/{UNKNOWN}/cancel"), 404, "response_not_found")


def test_stream_is_given_to_who_began_it(client, services, loops):
    threading.Timer(0.3, run, [services]).start()
    answer = ask(client, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = told(answer.data)
    assert kinds(found)[:2] == ["created", "queued"] and kinds(found)[-1] == "completed"
    id = found[0]["response"]["id"]
    assert streamed(client, id) == found
    answer.close()
    assert services.gate.inside == 0


@pytest.mark.parametrize("stream", [False, True])
def test_same_idempotency_key_is_the_same_response(client, services, loops, stream):
    name = {"Idempotency-Key": "once"}
    if stream:
        threading.Timer(0.3, run, [services]).start()
    first = ask(client, headers=name, stream=stream)
    data = first.data
    first.close()
    wait_for(lambda: not services.idempotency.busy())
    again = ask(client, headers=name, stream=stream)
    assert again.data == data
    assert again.headers["idempotent-replayed"] == "true"
    assert len(services.jobs.newest(5)) == 1
    other = ask(client, headers=name, stream=not stream)
    assert other.status_code == 409


def test_reader_of_a_deleted_response_is_told(client, services, loops, monkeypatch):
    monkeypatch.setattr("gateway.recordings.reader.PATIENCE", 0.1)
    id = accepted(client)["id"]
    answer = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False)
    blocks = iter(answer.response)
    next(blocks)
    client.delete(f"{RESPONSES}/{id}")
    (error,) = events(next(blocks))
    assert list(blocks) == []
    EVENT.validate_python(error)
    assert (error["type"], error["error"]["code"]) == ("error", "response_not_found")
    assert error["sequence_number"] == 1


def test_reader_is_sent_away_when_the_process_ends(client, services, loops, monkeypatch):
    monkeypatch.setattr("gateway.recordings.reader.PATIENCE", 0.1)
    id = accepted(client)["id"]
    answer = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False)
    blocks = iter(answer.response)
    next(blocks)
    services.leaving.set()
    (error,) = events(next(blocks))
    assert list(blocks) == []
    assert error["code"] == "server_draining"


def test_reader_that_waits_is_sent_away_at_once_when_a_drain_is_over(client, services, loops):
    id = accepted(client)["id"]
    answer = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False)
    blocks = iter(answer.response)
    next(blocks)
    threading.Timer(5, services.leaving.set).start()
    watch.drain(errors.ServerDraining)
    (error,) = events(next(blocks))
    assert list(blocks) == []
    assert (error["type"], error["code"], error["sequence_number"]) == ("error", DRAINING, 1)
    assert not services.leaving.is_set()


def test_reader_is_sent_away_between_two_events_only(client, services, monkeypatch):
    id = accepted(client)["id"]
    pieces = [b"data: {", b"}\n\n", b"data: {}\n\n"]
    monkeypatch.setattr(services.recordings, "reader", lambda *_, **how: Pieces(pieces))
    services.leaving.set()
    *blocks, error = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False).response
    assert blocks == pieces[:2] and events(error)[0]["code"] == DRAINING


class Pieces(list):
    """A reader of a recording that goes on behind these."""

    end, seen = None, 0


@pytest.mark.parametrize(("all_of_it", "end"), [(True, "ok"), (False, "cancelled")])
def test_reader_that_does_not_take_all_is_written_as_cancelled(
    client, services, monkeypatch, all_of_it, end
):
    id = accepted(client)["id"]
    run(services)
    lines = []
    monkeypatch.setattr(services.lines, "add", lambda level, fields: lines.append(fields))
    answer = client.get(f"{RESPONSES}/{id}?stream=true", buffered=False)
    blocks = iter(answer.response)
    list(blocks) if all_of_it else next(blocks)
    answer.close()
    assert [line["end"] for line in lines] == [end]


def test_recording_goes_with_its_job(client, services):
    id = accepted(client)["id"]
    run(services)
    later(services.jobs, 25 * 3600, id)
    refused(get(client, id, "?stream=true"), 404, "response_not_found")
    sweep(services.jobs, [services.recordings.remove])
    assert rows(services, recordings) == []
    refused(get(client, id, "?stream=true"), 404, "response_not_found")
    assert response(client, id)["status"] == "completed"
