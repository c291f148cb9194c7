"""gunicorn's requests, whose headers it judges itself only where they are not the usual ones."""

from gunicorn.http import message

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
NAMES = {spelled: name.upper() for name in USUAL for spelled in (name, name.title())}
MOST, LONGEST = 50, 4096  # lines and bytes of a head; above them its limits are gunicorn's to check
FINE = bytes({9, *range(0x20, 0x7F), *range(0x80, 0x100)})  # what a value may hold


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


class Request(message.Request):
    """A request as gunicorn parses it, its strictness included."""

    def parse(self, unreader):
        data = unreader.read()
        if not data:
            raise StopIteration
        line, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
        known = _lines.get(data[:line]) if 0 < line < end and self.plain() else None
        if known is not None:
            found = usual(data[line + 2 : end])
            if found is not None:
                self.method, self.uri, self.path, self.query, self.version = known
                self.fragment, self.headers = "", found
                return self.rest(data[end + 4 :])
        unreader.unread(data)
        return super().parse(unreader)

    def rest(self, data):
        """Take what has come behind the head as the body, if it is all of it; else return it."""
        length = next((value for name, value in self.headers if name == "CONTENT-LENGTH"), "0")
        if length.isascii() and length.isdigit() and int(length) == len(data):
            self.body = Whole(data)
            return b""
        return data

    def set_body_reader(self):
        if self.body is None:
            super().set_body_reader()

    def plain(self):
        """Say whether the first bytes of a connection are the request's own."""
        return self.req_number > 1 or self.cfg.proxy_protocol == "off"

    def parse_request_line(self, line):
        super().parse_request_line(line)
        if len(line) <= LONGEST_LINE and not self.fragment:
            if len(_lines) >= MOST_LINES:
                _lines.clear()
            found = self.method, self.uri, self.path, self.query, self.version
            _lines[bytes(line)] = found

    def parse_headers(self, data, from_trailer=False):
        found = None if from_trailer else usual(data)
        return super().parse_headers(data, from_trailer) if found is None else found


def usual(data):
    """Return the (name, value) pairs of a head that nothing is wrong with, None for any other.

    What gunicorn treats in a way of its own is not among the usual: names that come twice, folded
    lines, control characters, names that are not in the table.
    """
    lines = data.decode("latin-1").split("\r\n")
    if len(data) > LONGEST or len(lines) > MOST:
        return None
    if data.translate(None, FINE) != b"\r\n" * (len(lines) - 1):
        return None
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        known = NAMES.get(name)
        if known is None or not colon or known in found:
            return None
        found[known] = value.strip(" \t")
    return list(found.items())
