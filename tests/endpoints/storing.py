"""An application whose responses are stored, clients of it, and what they ask."""

import pytest

from gateway import config, create_app, database, mock
from gateway.mock import bodies
from tests.endpoints.refused import refused
from tests.raw_client import events
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

RESPONSES = "/v1/responses"
GOOD = {"model": "gpt-test", "input": "Say this is a test"}
UNKNOWN = "resp_" + "0" * 32
MORE = """
[[upstream]]
name = "keeper"
base_url = "URL"
endpoints = ["chat", "responses"]
stateful = true

[[upstream]]
name = "chat"
base_url = "URL"
endpoints = ["chat"]

[[model]]
id = "kept"
upstreams = [{ name = "keeper", model = "echo" }]

[[model]]
id = "either"
upstreams = [{ name = "mock", model = "echo" }, { name = "keeper", model = "echo", priority = 1 }]

[[model]]
id = "chat-only"
upstreams = [{ name = "chat", model = "echo" }]

[[model]]
id = "twins"
upstreams = [{ name = "mock", model = "echo" }, { name = "chat", model = "echo" }]

[retry]
attempts = 0
"""


@pytest.fixture(scope="module", name="upstream")
def shared_upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module", name="start")
def start_app(tmp_path_factory, upstream):
    """Return a function that makes an application; `more` is added to its configuration."""
    apps = []

    def make(more=""):
        folder = tmp_path_factory.mktemp("app")
        path = write_config(folder, upstream.url, more=MORE.replace("URL", upstream.url) + more)
        settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
        database.upgrade(settings.server.database_url)
        apps.append(create_app(settings))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["gateway"].close()


@pytest.fixture(scope="module", name="app")
def shared_app(start):
    return start()


def client_of(app, key=KEY):
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return found


@pytest.fixture(name="client")
def key_client(app):
    return client_of(app)


@pytest.fixture(name="other")
def other_client(app):
    """A client with another key."""
    return client_of(app, app.extensions["gateway"].keys.create("other")[1])


def ask(client, **more):
    answer = client.post(RESPONSES, json={**GOOD, **more})
    assert answer.status_code == 200, answer.data
    return events(answer.data)[-2]["response"] if more.get("stream") else answer.json


def get(client, id, rest=""):
    return client.get(f"{RESPONSES}/{id}{rest}")


def kept(client, found):
    answer = get(client, found["id"])
    assert answer.status_code == 200
    return answer.json


def gone(client, id):
    error = refused(get(client, id), 404, "response_not_found")
    assert error["message"] == f"Response with id '{id}' not found."


def answering(*output, **more):
    """Return an answer of these output items, whole or streamed as it is asked for."""

    def answer(request):
        found = {**bodies.response(settings=request.fields), "output": list(output), **more}
        yield from mock.json(found)(request)

    return answer


def user(text):
    return {"role": "user", "content": text}


def leave(client, upstream, model="gpt-test"):
    """Leave a stream after its first words; return the response's id and these words."""
    upstream.enqueue(mock.reply(GOOD["input"], delay=0.1))
    answer = client.post(RESPONSES, json={**GOOD, "model": model, "stream": True}, buffered=False)
    id, said, blocks = None, "", iter(answer.response)
    while not said:
        for event in events(next(blocks)):
            id = event.get("response", {}).get("id", id)
            said += event.get("delta", "")
    answer.close()
    return id, said


def count(connection):
    return len(connection.exec_driver_sql("select id from responses").all())
