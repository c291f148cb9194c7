import gevent
import pytest
from flask import current_app, g, has_app_context, has_request_context, request
from werkzeug.exceptions import HTTPException

from gateway.endpoints.app import App


@pytest.fixture
def app():
    found = App("visit")
    found.add_url_rule("/plain", "plain", lambda: str(request.view_args), methods=["GET", "POST"])
    found.add_url_rule("/named/<name>", "named", lambda name: name)
    found.add_url_rule("/named/plain", "fixed", lambda: "fixed")
    return found


def test_a_path_without_variables_is_matched_once(app, monkeypatch):
    client = app.test_client()
    assert client.get("/plain").data == client.get("/plain?a=b").data == b"{}"
    assert set(app.places) == {("/plain", "GET")}
    monkeypatch.setattr("werkzeug.routing.MapAdapter.match", None)
    assert client.get("/plain").status_code == 200


def test_methods_and_variables_are_told_apart(app):
    client = app.test_client()
    for _ in range(2):
        assert client.post("/plain").status_code == client.get("/plain").status_code == 200
        assert client.put("/plain").status_code == 405
        assert [client.get(f"/named/{name}").data for name in "ab"] == [b"a", b"b"]
        assert client.get("/named/plain").data == b"fixed"
        assert client.get("/absent").status_code == 404


def test_what_clients_make_up_is_not_kept(app):
    client = app.test_client()
    for number in range(50):
        client.get(f"/named/{number}")
        client.get(f"/absent/{number}")
        client.open("/plain", method=f"MADE{number}")
    assert app.places == {}


def test_options_names_the_methods_every_time(app):
    client = app.test_client()
    for _ in range(2):
        assert set(client.options("/plain").allow) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_place_that_was_kept_matches_like_any_other(app):
    with app.test_request_context("/plain"):
        request._get_current_object()
    adapter = app.places["/plain", "GET"]
    rule, values = adapter.match(return_rule=True)
    assert (rule.endpoint, values) == ("plain", {})
    with pytest.raises(HTTPException):
        app.create_url_adapter(
            app.request_class({"REQUEST_METHOD": "GET", "PATH_INFO": "/x"})
        ).match()


def test_hooks_surround_a_view_and_its_errors(app):
    seen = []
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    app.before_request(lambda: seen.append(request.endpoint))
    app.after_request(lambda response: seen.append(response.status_code) or response)
    app.teardown_request(lambda error: seen.append("over"))
    app.register_error_handler(ZeroDivisionError, lambda error: ("divided", 418))
    client = app.test_client()
    assert client.get("/named/a").data == b"a"
    assert client.get("/broken").data == b"divided"
    assert client.get("/absent").status_code == 404
    assert seen == ["named", 200, "over", "broken", 418, "over", None, 404, "over"]


def test_what_no_handler_may_swallow_passes_through_and_leaves_nothing_behind(app):
    class Left(BaseException):
        pass

    def leave():
        raise Left

    over = []
    app.add_url_rule("/left", "left", leave)
    app.teardown_request(over.append)
    with pytest.raises(Left):
        app.test_client().get("/left")
    assert over == [None]
    assert not has_request_context() and not has_app_context()


def test_requests_of_two_greenlets_know_themselves_alone(app):
    def slow(name):
        gevent.sleep(0)
        return f"{name} {request.path} {current_app.name} {g._get_current_object()}"

    app.add_url_rule("/slow/<name>", "slow", slow)
    client = app.test_client
    both = [gevent.spawn(client().get, f"/slow/{name}") for name in "ab"]
    gevent.joinall(both)
    assert [found.value.data for found in both] == [
        b"a /slow/a visit None",
        b"b /slow/b visit None",
    ]
