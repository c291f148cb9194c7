import pytest

from gateway.jobs.worker import NO_WORKER
from gateway.metrics import tally
from tests.endpoints.refused import refused

GOOD = {
    "status": "ok",
    "database": "ok",
    "redis": "unused",
    "upstreams": "ok",
    "traffic": "ok",
    "jobs": "ok",
}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_key_and_says_ok(stranger, path):
    answer = stranger.get(path)

    assert (answer.status_code, answer.json["status"]) == (200, "ok")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("away", "status", "word", "database"),
    [
        (0.0, 200, "ok", "ok"),
        (4.0, 200, "ok", "ok"),
        (30.0, 200, "ok", "away"),
        (299.0, 200, "ok", "away"),
        (301.0, 503, "unavailable", "away"),
    ],
)
def test_database_that_is_away_makes_unready_after_five_minutes(
    app, stranger, monkeypatch, away, status, word, database
):
    monkeypatch.setattr(app.extensions["gateway"].keys, "away_for", lambda: away)
    answer = stranger.get("/readyz")

    assert answer.status_code == status
    assert answer.json == {**GOOD, "status": word, "database": database}
    assert stranger.get("/healthz").status_code == 200


def test_database_that_takes_no_writes_is_told_and_stays_ready(app, stranger, monkeypatch):
    monkeypatch.setattr(app.extensions["gateway"].database, "_away", {True})
    answer = stranger.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {**GOOD, "database": "read_only"})


def test_model_whose_breakers_are_all_open_is_told_and_changes_nothing(app, stranger, monkeypatch):
    router = app.extensions["gateway"].router
    monkeypatch.setattr(router, "breakers", type(router.breakers)())
    for _ in range(3):
        router.breaker_of("mock", "upstream-model").fail(float("inf"))
    answer = stranger.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {**GOOD, "upstreams": "degraded"})


@pytest.mark.parametrize(("alone", "word"), [(0, "ok"), (1, "away")])
def test_redis_has_a_word_where_there_is_one(app, stranger, monkeypatch, alone, word):
    server = app.extensions["gateway"].settings.server
    monkeypatch.setitem(vars(server), "redis_url", "redis://secret@host/0")
    monkeypatch.setattr(tally, "limits_alone", alone)
    answer = stranger.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {**GOOD, "redis": word})
    assert b"secret" not in answer.data


def test_process_that_runs_no_jobs_says_so(app, stranger, monkeypatch):
    monkeypatch.setattr(app.extensions["gateway"], "worker", NO_WORKER)
    assert stranger.get("/readyz").json == {**GOOD, "jobs": "off"}


def test_readiness_asks_nobody(app, stranger, monkeypatch, upstream):
    asked = len(upstream.requests)
    found = app.extensions["gateway"]
    monkeypatch.setattr(found.database, "_run", None)
    monkeypatch.setattr(found.catalogue, "look", None)
    assert stranger.get("/readyz").json == GOOD
    assert len(upstream.requests) == asked


def test_liveness_asks_nothing(app, stranger, monkeypatch):
    monkeypatch.setattr(app.extensions["gateway"], "keys", None)
    assert stranger.get("/healthz").json == {"status": "ok"}


def test_probes_write_no_lines(stranger, lines):
    for path in ("/healthz", "/readyz"):
        stranger.get(path).close()
    assert lines == []


def test_metrics_are_hidden_on_the_api(client, stranger):
    for found in (client, stranger):
        refused(found.get("/metrics"), 404, "unknown_url")
