import pytest
from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import heads, server

PEER = ("127.0.0.1", 1)
SPELLED = st.sampled_from([*heads.NAMES, "Expect", "X_Y", "X-Forwarded-Proto", "hOST", "Te", ""])
PIECE = st.sampled_from(
    [":", " ", "\t", "\r\n", "\r", "\n", "\0", "\x7f", "é", "a", "100-continue"]
)
LINES = st.lists(
    st.tuples(SPELLED, st.lists(PIECE | st.characters(max_codepoint=255), max_size=6)), max_size=5
)


@pytest.fixture(scope="module")
def settings():
    """gunicorn's, as far as they decide how a head is judged."""
    found = Config()
    for name in ("http_parser", "forwarder_headers", "forwarded_allow_ips", "header_map"):
        found.set(name, SETTINGS[name])
    found.set("secure_scheme_headers", {})
    return found


SETTINGS = {
    "http_parser": "python",
    "forwarder_headers": "",
    "forwarded_allow_ips": "",
    "header_map": "refuse",
}


def judged(kind, settings, data):
    """Return what a kind of request makes of bytes: its headers and flags, or what it raises."""
    try:
        found = kind(settings, IterUnreader([data]), PEER)
    except ParseException as exc:
        return type(exc)
    return found.headers, found.scheme, found._expected_100_continue, type(found.body.reader)


@given(lines=LINES)
@example(lines=[("Host", [":", "a"]), ("Host", [":", "b"])])
@example(lines=[("Host", [":", "a"]), ("host", [":", "a"])])
@example(lines=[("Host", [":", "a", "\r\n", " ", "b"])])
@example(lines=[("Host", [":", "a", "\r", "b", "\n"])])
@example(lines=[("Expect", [":", "100-continue"])])
@example(lines=[("Content-Length", [":", "1"]), ("content-length", [":", "2"])])
@example(lines=[("Host", ["a"])])
@example(lines=[("X_Y", [":", "a"])])
@example(lines=[("X-Forwarded-Proto", [":", "https"])])
@example(lines=[("Host", [":"])])
@example(lines=[("Host", [" ", ":", "a"])])
@example(lines=[("Accept", [":", "\t", "a", " "]), ("Content-Length", [":", "0"])])
def test_a_head_is_judged_as_gunicorn_judges_it(settings, lines):
    head = "".join(f"{name}{''.join(rest)}\r\n" for name, rest in lines)
    data = f"POST /v1 HTTP/1.1\r\n{head}\r\n".encode("latin-1")
    ours, theirs = (judged(kind, settings, data) for kind in (heads.Request, message.Request))
    assert ours == theirs


def test_limits_are_gunicorns_to_check(settings):
    for head in ("Accept: " + "a" * 9000, "\r\n".join(["Accept: a"] * 101)):
        data = f"GET / HTTP/1.1\r\n{head}\r\n\r\n".encode()
        with pytest.raises(ParseException):
            heads.Request(settings, IterUnreader([data]), PEER)


def test_a_usual_head_is_not_judged_twice():
    assert heads.usual(b"Host: a\r\nAuthorization:  Bearer x\t\r\ncontent-length: 3") == [
        ("HOST", "a"),
        ("AUTHORIZATION", "Bearer x"),
        ("CONTENT-LENGTH", "3"),
    ]


def test_the_settings_of_the_server_are_those_that_this_is_right_for(monkeypatch, tmp_path):
    """A scheme or forwarder header would need gunicorn's own look at every name."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[[upstream]]\nname = "a"\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[[model]]\nid = "m"\nupstreams = [{ name = "a" }]\n'
    )
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    found = server.settings("wsgi:app")
    assert found["secure_scheme_headers"] == {}
    assert {name: found[name] for name in SETTINGS} == SETTINGS
