"""Heads of requests: nearly all look alike, and those need not be parsed as strictly twice.

What `known` takes is what gunicorn would have made of the same bytes; whatever is unusual about a
head leaves it to gunicorn's own parser, its strictness included.
"""

from urllib.parse import unquote_to_bytes

from gunicorn.http import message
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import InvalidHeader

# Names that mean nothing to gunicorn beyond their value, or whose meaning it looks up later.
USUAL = """
    accept accept-encoding accept-language authorization baggage cache-control connection
    content-encoding content-length content-type cookie host idempotency-key origin pragma prefer
    referer sec-fetch-dest sec-fetch-mode sec-fetch-site traceparent tracestate user-agent
    x-client-request-id x-forwarded-for x-forwarded-host x-forwarded-port x-real-ip x-request-id
    x-stainless-arch x-stainless-async x-stainless-helper-method x-stainless-lang x-stainless-os
    x-stainless-package-version x-stainless-read-timeout x-stainless-retry-count
    x-stainless-runtime x-stainless-runtime-version x-stainless-timeout openai-organization
    openai-project openai-beta
""".split()
MOST, LONGEST = 50, 4096  # lines and bytes of a head; above them its limits are gunicorn's to check
ALL = 64 * 1024  # bytes of any head; gunicorn's limits alone would allow twelve times as many
FINE = bytes({9, *range(0x20, 0x7F), *range(0x80, 0x100)})  # what a value may hold


def key_of(name):
    """Return the key that a header has in a WSGI environment."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


KEYS = {spelled: key_of(name) for name in USUAL for spelled in (name, name.title())}

# First lines that gunicorn has taken, with what it has found in them; most requests begin alike.
_lines = {}
MOST_LINES, LONGEST_LINE = 200, 200


class Whole:
    """A body that has come along with its head; its own reader, as far as gunicorn looks at one."""

    __slots__ = ("data",)
    failed = False

    def __init__(self, data):
        self.data = data

    @property
    def reader(self):
        return self

    @property
    def length(self):
        return len(self.data)

    def read(self, size=None):
        """Return so many bytes, or all; never waits."""
        data = self.data
        if size is None or size < 0:
            size = len(data)
        self.data = data[size:]
        return data[:size]


class Known:
    """A request with a usual head: as much of gunicorn's as an answer needs.

    `fields` are its headers by their keys in a WSGI environment.
    """

    __slots__ = ("method", "uri", "path", "path_info", "query", "version", "fields", "body")
    scheme, _expected_100_continue = "http", False

    def __init__(self, line, fields, body):
        self.method, self.uri, self.path, self.path_info, self.query, self.version = line
        self.fields, self.body = fields, body

    def should_close(self):
        """Tell whether the connection ends with the answer."""
        said = self.fields.get("HTTP_CONNECTION", "").lower()
        if said == "close" or self.method == "CONNECT":
            return True
        return said != "keep-alive" and self.version <= (1, 0)


class Request(message.Request):
    """A request as gunicorn parses it; its first line is known from then on."""

    def parse(self, unreader):
        self.max_buffer_headers = min(self.max_buffer_headers, ALL)
        rest = super().parse(unreader)
        if self.version > (1, 0) and "HOST" not in dict(self.headers):
            raise InvalidHeader("HOST", req=self)
        return rest

    def parse_request_line(self, line):
        super().parse_request_line(line)
        if len(line) <= LONGEST_LINE and not self.fragment:
            if len(_lines) >= MOST_LINES:
                _lines.clear()
            found = self.method, self.uri, self.path, self.path_info, self.query, self.version
            _lines[bytes(line)] = found

    @property
    def path_info(self):
        return unquote_to_bytes(self.path).decode("latin-1")

    @property
    def fields(self):
        """The headers; one that comes twice is joined, so that no second one is overlooked."""
        found = {}
        for name, value in self.headers:
            key = key_of(name)
            found[key] = f"{found[key]},{value}" if key in found else value
        return found


def known(data, unreader):
    """Return (Known, bytes behind it) for bytes that begin with a usual head, else (None, data).

    `unreader()` makes gunicorn's reader of the connection, for a body that has yet to come.
    """
    start, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    line = _lines.get(data[:start]) if 0 < start < end else None
    fields = usual(data[start + 2 : end]) if line is not None else None
    if fields is None:
        return None, data
    body, rest = b"", data[end + 4 :]
    said = fields.get("CONTENT_LENGTH")
    if said is not None:
        if not (said.isascii() and said.isdigit()):
            return None, data
        length = int(said)
        if len(rest) < length:
            reader = unreader()
            reader.unread(rest)
            return Known(line, fields, Body(LengthReader(reader, length))), b""
        body, rest = rest[:length], rest[length:]
    return Known(line, fields, Whole(body)), rest


def usual(data):
    """Return the values of a head that nothing is wrong with by their keys, None for any other.

    What gunicorn treats in a way of its own is not among the usual: names that come twice, folded
    lines, control characters, names that are not in the table, no Host.
    """
    lines = data.decode("latin-1").split("\r\n")
    if len(data) > LONGEST or len(lines) > MOST:
        return None
    if data.translate(None, FINE) != b"\r\n" * (len(lines) - 1):
        return None
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = KEYS.get(name)
        if key is None or not colon or key in found:
            return None
        found[key] = value.strip(" \t")
    return found if "HTTP_HOST" in found else None
