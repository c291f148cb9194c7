import copy

import pytest
from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import answer, heads, server

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
    line = found.method, found.uri, found.path, found.query, found.fragment, found.version
    rest = found.body.read(), found.unreader.take_buffered()
    return line, found.headers, found.scheme, found._expected_100_continue, *rest


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


TARGET = st.sampled_from(
    [
        "/v1",
        "/v1?a=b",
        "/v1#c",
        "//v1",
        "*",
        "",
        "/%2e",
        "http://a/v1",
        "a:1",
        "/\x80",
        "/a b",
        "/?",
    ]
)


@given(
    before=st.sampled_from(["", "\r\n", "\r\n\r\n", "\n", "\r"]),
    method=st.sampled_from(["GET", "POST", "OPTIONS", "CONNECT", "get", "", "P\tT"]),
    target=TARGET,
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "", "http/1.1"]),
    lines=st.sampled_from(["", "Host: a\r\n", "Host: a\n"])
    | st.sampled_from("0 1 2 3 02 +2 2,2 \xb2 -1 2_".split()).map("Content-Length: {}\r\n".format),
    rest=st.sampled_from(["", "{}", "{}GET /v1 HTTP/1.1\r\n\r\n", "\r\n\r\n"]),
)
def test_a_first_line_that_is_known_is_judged_as_it_was_at_first(
    settings, before, method, target, version, lines, rest
):
    data = f"{before}{method} {target} {version}\r\n{lines}\r\n{rest}".encode("latin-1")
    theirs = judged(message.Request, settings, data)
    assert [judged(heads.Request, settings, data) for _ in range(2)] == [theirs, theirs]


def test_a_body_that_has_come_with_its_head_is_read_in_pieces_too(settings):
    data = b"POST /v1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"
    for _ in range(2):
        body = heads.Request(settings, IterUnreader([data]), PEER).body
        assert answer.unread(body)
        assert [body.read(3), body.read(0), body.read(3), body.read(3)] == [b"abc", b"", b"d", b""]
        assert not answer.unread(body)
    assert isinstance(body, heads.Whole)


def test_a_first_line_is_parsed_once(settings, monkeypatch):
    data = b"GET /once HTTP/1.1\r\nHost: a\r\n\r\n"
    first = judged(heads.Request, settings, data)
    monkeypatch.setattr(message.Request, "parse_request_line", None)
    assert judged(heads.Request, settings, data) == first


def test_what_clients_make_up_is_not_kept_for_ever(settings):
    for number in range(3 * heads.MOST_LINES):
        judged(heads.Request, settings, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    judged(heads.Request, settings, b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 1000))
    assert 0 < len(heads._lines) <= heads.MOST_LINES
    assert max(map(len, heads._lines)) <= heads.LONGEST_LINE


def test_a_proxy_s_words_before_the_first_request_are_gunicorns_to_read(settings):
    data = b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n"
    judged(heads.Request, settings, data)
    settings = copy.deepcopy(settings)
    settings.set("proxy_protocol", "v1")
    told = heads.Request(
        settings, IterUnreader([b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n" + data]), PEER
    )
    assert told.proxy_protocol_info["client_addr"] == "1.2.3.4" and told.path == "/v1"


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
