"""What one key owns is to another as if it had never been, by every route that takes an id."""

import json
import secrets

import pytest
import sqlalchemy as sa

from gateway import config, create_app, database, mock
from gateway.tables import metadata
from tests.endpoints.refused import refused
from tests.endpoints.storing import GOOD, RESPONSES, ask, client_of
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "mine"}]}
QUERIES = ["", "stream=true", "stream=true&starting_after=0", "wait=1", "limit=1&order=asc"]
METHODS = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]
CHANGING = {"x-request-id", "openai-processing-ms", "date"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    with ScriptedUpstream() as upstream:
        path = write_config(folder, upstream.url, more="[retry]\nattempts = 0\n")
        settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
        database.upgrade(settings.server.database_url)
        found = create_app(settings)
        found.upstream = upstream
        yield found
        found.extensions["gateway"].close()


@pytest.fixture(scope="module")
def owned(app):
    """The ids of all that a key can own, by what they are of."""
    owner, services = client_of(app), app.extensions["gateway"]

    def job(run=True, answer=None):
        made = owner.post("/v1/chat/completions", json=CHAT, headers={"Prefer": "respond-async"})
        return ran(made, run, answer)

    def background(run=True, answer=None):
        made = owner.post(RESPONSES, json={**GOOD, "background": True})
        return ran(made, run, answer)

    def ran(made, run, answer):
        if run:
            app.upstream.enqueue(*([answer] if answer else ()))
            services.running(services.jobs.claim("w")).run()
        return made.json["id"]

    found = {
        "job that has ended": job(),
        "job that has failed": job(answer=mock.error(400, "no")),
        "background response that has ended": background(),
        "background response that has failed": background(answer=mock.error(400, "no")),
        "response": ask(owner)["id"],
        "response that was streamed": ask(owner, stream=True)["id"],
        "job that waits": job(run=False),
        "background response that waits": background(run=False),
    }
    services.recordings.flusher.flush_safely()
    services.recorder.flush()
    return found


@pytest.fixture
def other(app):
    return client_of(app, app.extensions["gateway"].keys.create("other")[1])


def rules(app):
    """Return the rules that take an id, but those that name a model."""
    found = [rule.rule for rule in app.url_map.iter_rules() if "<id>" in rule.rule]
    assert len({rule.rule for rule in app.url_map.iter_rules() if rule.arguments} - {*found}) == 1
    return sorted(set(found))


def rows(app):
    """Return what all the tables but the keys hold."""
    tables = [table for table in metadata.sorted_tables if table.name != "keys"]
    read = app.extensions["gateway"].database.read
    return {
        t.name: sorted(map(repr, read(lambda c, t=t: c.execute(t.select()).all()))) for t in tables
    }


def like(id):
    """Return an id of the same kind that is nobody's."""
    return f"{id.partition('_')[0]}_{secrets.token_hex(16)}"


def told(answer, id):
    """Return all of an answer that does not change from one request to the next."""
    headers = {n.lower(): v for n, v in answer.headers if n.lower() not in CHANGING}
    said = json.dumps([headers, answer.get_data(as_text=True)])
    assert answer.status_code in (400, 404, 405), answer.data
    return answer.status_code, said.replace(id, "ID")


def test_there_are_the_routes_that_this_is_about(app):
    assert rules(app) == [
        "/v1/jobs/<id>",
        "/v1/jobs/<id>/cancel",
        "/v1/responses/<id>",
        "/v1/responses/<id>/cancel",
        "/v1/responses/<id>/input_items",
    ]


def test_another_key_s_id_is_answered_like_one_that_was_never_given_out(app, owned, other):
    before, seen = rows(app), 0
    for id in owned.values():
        for rule in rules(app):
            for method in METHODS:
                for query in QUERIES:
                    answers = [
                        told(
                            other.open(rule.replace("<id>", x), method=method, query_string=query),
                            x,
                        )
                        for x in (id, like(id))
                    ]
                    assert answers[0] == answers[1], (method, rule, query)
                    seen += answers[0][0] == 404
    assert seen > 100
    assert rows(app) == before


def test_nothing_is_built_on_or_listed_behind_what_another_key_owns(app, owned, other):
    before, upstream = rows(app), app.upstream.received
    for id in owned.values():
        for body in (
            {**GOOD, "previous_response_id": id},
            {**GOOD, "previous_response_id": id, "stream": True},
            {**GOOD, "previous_response_id": id, "background": True},
            {**GOOD, "conversation": id},
            {**GOOD, "conversation": {"id": id}},
        ):
            answers = []
            for x in (id, like(id)):
                sent = json.loads(json.dumps(body).replace(id, x))
                answers.append(told(other.post(RESPONSES, json=sent), x))
            assert answers[0] == answers[1] and answers[0][0] == 404, body
        answers = [told(other.get(f"/v1/jobs?after={x}"), x) for x in (id, like(id))]
        assert answers[0] == answers[1] and answers[0][0] == 400
    assert rows(app) == before
    assert app.upstream.received == upstream


def test_lists_hold_one_s_own_alone(app, owned, other):
    assert other.get("/v1/jobs").json["data"] == []
    ids = {job["id"] for job in client_of(app).get("/v1/jobs").json["data"]}
    assert ids == {id for what, id in owned.items() if "job" in what or "background" in what}


def test_its_owner_finds_all_of_it_untouched(app, owned):
    """Comes last: what would be untouched because it was never there proves nothing."""
    owner = client_of(app)
    for what, id in owned.items():
        path = "/v1/jobs" if id.startswith("job_") else RESPONSES
        assert owner.get(f"{path}/{id}").status_code == 200, what
    waiting = owned["job that waits"]
    assert owner.get(f"/v1/jobs/{waiting}").json["status"] == "queued"
    assert owner.post(f"/v1/jobs/{waiting}/cancel").json["status"] == "cancelled"
    for id in (owned["response"], owned["background response that waits"]):
        assert owner.delete(f"{RESPONSES}/{id}").json["deleted"] is True
        refused(owner.get(f"{RESPONSES}/{id}"), 404, "response_not_found")


def test_key_that_was_revoked_takes_what_it_owned_with_it(app, owned):
    services = app.extensions["gateway"]
    key, secret = services.keys.create("gone")
    client = client_of(app, secret)
    id = ask(client)["id"]
    services.keys.revoke(key.id)
    services.keys.refresh()
    refused(client.get(f"{RESPONSES}/{id}"), 401, "invalid_api_key")
    later = client_of(app, services.keys.create("gone")[1])  # its name says nothing
    refused(later.get(f"{RESPONSES}/{id}"), 404, "response_not_found")
    assert services.database.read(
        lambda c: c.scalar(sa.text("select key from responses where id = :id"), {"id": id})
    )
