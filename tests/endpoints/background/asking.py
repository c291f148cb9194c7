"""What clients ask of background responses, and what they are told."""

import threading
import time

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway import mock
from gateway.tables import jobs as jobs_table
from gateway.tables import recordings
from tests.endpoints.refused import refused
from tests.endpoints.storing import GOOD, RESPONSES
from tests.raw_client import events

EVENT = TypeAdapter(ResponseStreamEvent)
TEXT = "Say this is a test"
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def ask(client, headers=(), **more):
    body = {**GOOD, "background": True, **more}
    return client.post(RESPONSES, json=body, headers=dict(headers))


def accepted(client, **more):
    answer = ask(client, **more)
    assert answer.status_code == 200, answer.data
    return Response.model_validate(answer.json).to_dict()


def get(client, id, query=""):
    return client.get(f"{RESPONSES}/{id}{query}")


def response(client, id):
    answer = get(client, id)
    assert answer.status_code == 200, answer.data
    return valid(answer.json)


def valid(found):
    Response.model_validate(found)
    return found


def run(services):
    """Run the job that is next, as a worker does."""
    job = services.running(services.jobs.claim("w"))
    job.run()
    return job


def begin(services, upstream, answer=None):
    """Run the next job in a thread up to where its upstream has said something."""
    upstream.enqueue(answer or mock.responses(delay=0.1))
    job = services.running(services.jobs.claim("w"))
    thread = threading.Thread(target=job.run)
    thread.start()
    wait_for(lambda: job.answered and job.sink.number > 4)
    return job, thread


def wait_for(ready, seconds=10):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def streamed(client, id, query="?stream=true"):
    """Return the events of a stream, all of them valid, and without a gap."""
    answer = get(client, id, query)
    assert answer.status_code == 200, answer.data
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return told(answer.data)


def told(data):
    *found, done = events(data)
    assert done == "[DONE]"
    for event in found:
        EVENT.validate_python(event)
    first = found[0]["sequence_number"] if found else 0
    assert [event["sequence_number"] for event in found] == list(range(first, first + len(found)))
    return found


def kinds(found):
    return [event["type"].removeprefix("response.") for event in found]


def rows(services, table):
    return services.database.read(lambda c: [dict(r) for r in c.execute(table.select()).mappings()])


def gone(client, services, id):
    for query in ("", "?stream=true", "/input_items"):
        refused(get(client, id, query), 404, "response_not_found")
    refused(client.delete(f"{RESPONSES}/{id}"), 404, "response_not_found")
    refused(client.post(f"{RESPONSES}/{id}/cancel"), 404, "response_not_found")
    refused(client.get(f"/v1/jobs/{id}"), 404, "job_not_found")
    assert rows(services, recordings) == [] == rows(services, jobs_table)
