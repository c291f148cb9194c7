import pytest
from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.errors import InvalidHeader, ParseException
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import answer, heads, server

PEER = ("127.0.0.1", 1)
SPELLED = st.sampled_from([*heads.KEYS, "Expect", "X_Y", "X-Forwarded-Proto", "hOST", "Te", ""])
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


def told(found, rest):
    """Return what a request says of itself, and the bytes that are left behind its body."""
    line = found.method, found.uri, found.path, found.path_info, found.query, found.version
    flags = found.scheme, found._expected_100_continue, found.should_close()
    body = found.body.read()
    return line, list(found.fields.items()), flags, body, rest()


def parsed(settings, data):
    """Return what gunicorn makes of bytes, or what it raises."""
    try:
        found = heads.Request(settings, IterUnreader([data]), PEER)
    except ParseException as exc:
        return type(exc)
    return told(found, found.unreader.take_buffered)


def judged(settings, data):
    """Return the same of what is made of them with what is known."""
    reader = IterUnreader([])
    found, rest = heads.known(data, lambda: reader)
    if found is None:
        assert rest == data
        return parsed(settings, data)
    return told(found, lambda: rest or reader.take_buffered())


def learn(settings, line):
    """Have a first line known."""
    parsed(settings, line.encode() + b"\r\nHost: a\r\n\r\n")


@given(lines=LINES)
@example(lines=[("Host", [":", "b"])])
@example(lines=[("host", [":", "a"])])
@example(lines=[("Accept", [":", "a"]), ("accept", [":", "a"])])
@example(lines=[("Accept", [":", "a", "\r\n", " ", "b"])])
@example(lines=[("Accept", [":", "a", "\r", "b", "\n"])])
@example(lines=[("Expect", [":", "100-continue"])])
@example(lines=[("Content-Length", [":", "1"]), ("content-length", [":", "2"])])
@example(lines=[("Accept", ["a"])])
@example(lines=[("X_Y", [":", "a"])])
@example(lines=[("X-Forwarded-Proto", [":", "https"])])
@example(lines=[("Accept", [":"])])
@example(lines=[("Accept", [" ", ":", "a"])])
@example(lines=[("Accept", [":", "\t", "a", " "]), ("Content-Length", [":", "0"])])
def test_a_head_is_judged_as_gunicorn_judges_it(settings, lines):
    head = "".join(f"{name}{''.join(rest)}\r\n" for name, rest in lines)
    data = f"POST /v1 HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode("latin-1")
    learn(settings, "POST /v1 HTTP/1.1")
    assert judged(settings, data) == parsed(settings, data)


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
    host=st.sampled_from(["Host: a\r\n", "host:\r\n", "Host: a\n", ""]),
    length=st.sampled_from(" 0 1 2 3 02 +2 2,2 \xb2 -1 2_".split(" ")),
    rest=st.sampled_from(["", "{}", "{}GET /v1 HTTP/1.1\r\n\r\n", "\r\n\r\n"]),
)
def test_a_first_line_that_is_known_is_judged_as_it_was_at_first(
    settings, before, method, target, version, host, length, rest
):
    head = f"{host}Content-Length: {length}\r\n" if length else host
    data = f"{before}{method} {target} {version}\r\n{head}\r\n{rest}".encode("latin-1")
    theirs = parsed(settings, data)
    assert [judged(settings, data) for _ in range(2)] == [theirs, theirs]


def test_a_body_that_has_come_with_its_head_is_read_in_pieces_too(settings):
    learn(settings, "POST /v1 HTTP/1.1")
    data = b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"
    body = heads.known(data, None)[0].body
    assert answer.unread(body)
    assert [body.read(3), body.read(0), body.read(3), body.read(3)] == [b"abc", b"", b"d", b""]
    assert not answer.unread(body)
    assert isinstance(body, heads.Whole)


@pytest.mark.parametrize("cut", range(5))
def test_a_body_that_is_still_to_come_is_gunicorns_to_read(settings, cut):
    learn(settings, "POST /v1 HTTP/1.1")
    reader = IterUnreader([b"abcd"[cut:], b"GET"])
    data = b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + b"abcd"[:cut]
    found, rest = heads.known(data, lambda: reader)
    assert answer.unread(found.body) and rest == b""
    assert found.body.read() == b"abcd"
    assert not answer.unread(found.body)


@pytest.mark.parametrize(
    "version, said, closes",
    [
        ("1.1", None, False),
        ("1.1", "close", True),
        ("1.1", " Close", True),
        ("1.1", "x", False),
        ("1.0", None, True),
        ("1.0", "Keep-Alive", False),
        ("1.0", "x", True),
    ],
)
def test_a_connection_ends_as_gunicorn_would_end_it(settings, version, said, closes):
    line = f"GET /v1 HTTP/{version}"
    learn(settings, line)
    head = f"Connection: {said}\r\n" if said else ""
    data = f"{line}\r\nHost: a\r\n{head}\r\n".encode()
    assert heads.known(data, None)[0].should_close() is closes
    assert judged(settings, data) == parsed(settings, data)


def test_a_first_line_is_parsed_once(settings, monkeypatch):
    data = b"GET /once HTTP/1.1\r\nHost: a\r\n\r\n"
    first = judged(settings, data)
    monkeypatch.setattr(message.Request, "parse_request_line", None)
    assert judged(settings, data) == first


def test_what_clients_make_up_is_not_kept_for_ever(settings):
    for number in range(3 * heads.MOST_LINES):
        judged(settings, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    judged(settings, b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 1000))
    assert 0 < len(heads._lines) <= heads.MOST_LINES
    assert max(map(len, heads._lines)) <= heads.LONGEST_LINE


def test_limits_are_gunicorns_to_check(settings):
    learn(settings, "GET / HTTP/1.1")
    for head in ("Accept: " + "a" * 9000, "\r\n".join(["Accept: a"] * 101)):
        data = f"GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode()
        assert issubclass(judged(settings, data), ParseException)


@pytest.mark.parametrize("version, served", [("1.1", False), ("1.0", True)])
def test_a_request_needs_a_host_from_http_1_1_on(settings, version, served):
    line = f"GET /host HTTP/{version}"
    learn(settings, line)
    for more in ("", "Accept: a\r\n"):
        found = judged(settings, f"{line}\r\n{more}\r\n".encode())
        assert (found is InvalidHeader) is not served


def test_a_usual_head_is_not_judged_twice():
    assert heads.usual(b"Host: a\r\nAuthorization:  Bearer x\t\r\ncontent-length: 3") == {
        "HTTP_HOST": "a",
        "HTTP_AUTHORIZATION": "Bearer x",
        "CONTENT_LENGTH": "3",
    }


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
