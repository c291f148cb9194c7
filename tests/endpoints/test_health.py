import pytest

from tests.endpoints.refused import refused


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
    assert answer.json == {"status": word, "database": database}
    assert stranger.get("/healthz").status_code == 200


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
