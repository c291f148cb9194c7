import json
import logging

import pytest

from gateway import create_app, database
from gateway.endpoints.visit import current
from tests.endpoints.refused import refused
from tests.serving import KEY

CANARY = "CANARY-prompt"


@pytest.fixture
def broken(settings, caplog, monkeypatch):
    """A client of an application with views that fail in every way, and what it logs."""
    database.upgrade(settings.server.database_url)
    app = create_app(settings)

    @app.get("/v1/raises/<kind>")
    def raises(kind):
        raise {"value": ValueError, "key": KeyError, "os": OSError}[kind](CANARY)

    @app.post("/v1/chained")
    def chained():
        try:
            json.loads(current().get_data())
        except ValueError as exc:
            raise RuntimeError(CANARY) from exc

    @app.get("/v1/nothing")
    def nothing():
        return None

    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    client.lines = []
    services = app.extensions["gateway"]
    monkeypatch.setattr(services.lines, "add", lambda *line: client.lines.append(line))
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    yield client
    services.close()


@pytest.mark.parametrize("path", ["/v1/raises/value", "/v1/raises/key", "/v1/nothing"])
def test_fault_of_ours_is_a_500_that_tells_nothing(broken, caplog, path):
    with broken.get(path) as answer:
        error = refused(answer, 500, "internal_error")
        request_id = answer.headers["x-request-id"]

    assert error["message"] == "The server had an error while processing your request."
    assert error["type"] == "server_error"
    assert answer.headers["x-should-retry"] == "true"
    assert CANARY not in answer.text
    (line,) = broken.lines
    assert line[0] == "error" and line[1]["request_id"] == request_id
    assert (line[1]["status"], line[1]["code"], line[1]["end"]) == (500, "internal_error", "error")
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_fault_of_ours_is_logged_with_its_place_and_without_its_words(broken, caplog):
    from gateway.logs import JSONFormatter

    for ask in (lambda: broken.get("/v1/raises/value"), lambda: broken.get("/v1/raises/key"),
                lambda: broken.post("/v1/chained", data=f'{{"{CANARY}": {KEY}')):  # fmt: skip
        ask().close()
    written = [JSONFormatter().format(record) for record in caplog.records]

    assert len(written) == 3
    assert all("test_errors.py" in text and "Error" in text for text in written)
    assert not [text for text in written if CANARY in text or KEY in text]
    assert not [line for line in broken.lines if CANARY in repr(line) or KEY in repr(line)]


@pytest.mark.parametrize("path", ["/", "/nope", "/v2/models", "/favicon.ico", "/static/x"])
def test_other_paths_are_unknown_urls(client, stranger, path):
    for found in (client, stranger):
        error = refused(found.get(path), 404, "unknown_url")
        assert error["message"] == f"Invalid URL (GET {path})"


def test_paths_that_hold_anything_stay_text(client):
    for path in ("/v1/\n", "/v1/<script>", '/v1/"', "/v1/\x00", "/v1/\u2028"):
        answer = client.get("/", environ_overrides={"PATH_INFO": path.encode().decode("latin-1")})
        error = refused(answer, 404, "unknown_url")
        assert error["message"] == f"Invalid URL (GET {path})"


def test_websocket_handshake_is_an_ordinary_request(client):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert client.get("/v1/models", headers=headers).status_code == 200


def test_errors_carry_no_cookie_and_no_other_origin(client, stranger):
    for answer in (
        client.get("/v1/nope"),
        stranger.get("/v1/models"),
        client.options("/v1/models"),
    ):
        names = {name.lower() for name in answer.headers.keys()}
        assert not [n for n in names if n.startswith("access-control") or n == "set-cookie"]


@pytest.mark.parametrize("id", ["mine-1", "a" * 128, "00-aa-bb-01", "x/y:z=1+2"])
def test_sane_client_request_id_is_logged_beside_ours(client, lines, id):
    with client.get("/v1/models", headers={"X-Client-Request-Id": id}) as answer:
        assert answer.headers["x-request-id"] != id
    assert lines[0]["client_request_id"] == id


@pytest.mark.parametrize("id", ["", "a b", "a" * 129, "é", "a\tb", '{"a":1}', "a;b"])
def test_odd_client_request_id_is_dropped(client, lines, id):
    client.get("/v1/models", headers={"X-Client-Request-Id": id}).close()
    assert lines[0]["client_request_id"] is None
