"""Server-sent events: bytes to events and back, and nothing else.

Decoding takes whatever the WHATWG specification allows: LF, CR and CRLF (split anywhere), a byte
order mark, comments, several `data:` lines. Encoding writes the one form that every client reads:
LF, at most one `event:` line, one `data:` line and its blank line.
"""

from typing import NamedTuple

from gateway.errors import UpstreamBadResponse

BOM = b"\xef\xbb\xbf"
LARGEST_EVENT = 16 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"


class Event(NamedTuple):
    data: bytes
    type: bytes = b""


def bare(data):
    """Return an Event without a type; its own constructor costs three times as much."""
    return tuple.__new__(Event, (data, b""))


class Decoder:
    """Turns the pieces that a socket gives into whole events.

    Raises UpstreamBadResponse for an event above `limit` bytes.
    """

    def __init__(self, limit=LARGEST_EVENT):
        self.limit = limit
        self._pieces = []  # bytes since the last blank line, not joined before they are needed
        self.held = 0
        self._bom = b""  # the first bytes, until it is known whether they are a byte order mark
        self._started = False
        self.skip_lf = False  # the last piece ended in CR, whose LF may lie in the next one

    def alone(self, data):
        """Tell whether bytes are one event as nearly every upstream sends it, and nothing else."""
        if not self._started or self.held or self.skip_lf or len(data) > self.limit:
            return False
        if not data.startswith(b"data: ") or not data.endswith(b"\n\n"):
            return False
        return data.find(b"\n") == len(data) - 2 and b"\r" not in data

    def feed(self, data):
        """Return the events that these bytes complete."""
        if self.alone(data):
            return [bare(data[6:-2])]
        if not self._started:
            data = self._start(data)
        if b"\r" in data or self.skip_lf:
            data = self._normal(data)
        if not data:
            return []
        return self._blocks(data)

    def _start(self, data):
        data = self._bom + data
        if len(data) < 3 and BOM.startswith(data):
            self._bom = data
            return b""
        self._started, self._bom = True, b""
        return data.removeprefix(BOM)

    def _normal(self, data):
        if not data:
            return data
        if self.skip_lf and data[:1] == b"\n":
            data = data[1:]
        self.skip_lf = data.endswith(b"\r") if data else False
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _blocks(self, data):
        pieces = self._pieces
        if not pieces and data.endswith(b"\n\n"):
            if len(data) > self.limit:
                self._measure(data)
            return parse(data)
        if pieces and pieces[-1].endswith(b"\n") and data.startswith(b"\n"):
            # The blank line is split over two pieces.
            done, data = b"".join(pieces) + b"\n", data[1:]
            self._pieces, self.held = [], 0
            return parse(done) + (self._blocks(data) if data else [])
        cut = data.rfind(b"\n\n") + 2
        if cut == 1:
            self._keep(data)
            return []
        done = b"".join(pieces) + data[:cut]
        self._pieces, self.held = [], 0
        self._measure(done)
        if cut < len(data):
            self._keep(data[cut:])
        return parse(done)

    def _keep(self, data):
        self._pieces.append(data)
        self.held += len(data)
        if self.held > self.limit:
            raise UpstreamBadResponse("The upstream sent an event that is too large.")

    def _measure(self, done):
        if len(done) > self.limit and any(len(b) > self.limit for b in done.split(b"\n\n")):
            raise UpstreamBadResponse("The upstream sent an event that is too large.")


def parse(blocks):
    """Return the events in bytes that end with a blank line."""
    events = []
    for block in blocks.split(b"\n\n"):
        if block.startswith(b"data: ") and b"\n" not in block:
            events.append(bare(block[6:]))  # what nearly every upstream sends
        elif block:
            event = _fields(block)
            if event is not None:
                events.append(event)
    return events


def _fields(block):
    kind, data = b"", []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
    return Event(b"\n".join(data), kind) if data else None


def encode(data, kind=b""):
    """Write one event; `data` is JSON, in which a line break is mere white space."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    if kind:
        return b"event: %b\ndata: %b\n\n" % (kind, data)
    return b"data: %b\n\n" % data
