"""Bytes from an upstream to the parts of an HTTP answer, by llhttp; no sockets here."""

import zlib

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from requests import exceptions

QUIET = 65536  # most bytes of head, chunk lines or trailers between two pieces of body
HEADERS = 100
INFLATED = 16 * 1024 * 1024  # most bytes of an answer that came compressed without being asked
PIECE = 65536  # most bytes that are inflated at once, because a few may stand for very many


class Reset(exceptions.ConnectionError):
    """The connection was there, and then it was not; `began` if some of the answer had come."""

    def __init__(self, message, began=False):
        super().__init__(message)
        self.began = began


class Answer:
    """What llhttp has found so far; its `on_…` methods are llhttp's callbacks."""

    __slots__ = ("parser", "status", "headers", "pairs", "pieces", "head", "done", "dirty")
    __slots__ += ("got", "keep", "quiet", "fault", "on_body", "between")

    def __init__(self):
        self.status = self.quiet = 0
        self.headers, self.pairs, self.pieces = {}, [], []
        self.on_body = self.pieces.append
        self.parser = HttpResponseParser(self)  # it knows us too, so it is let go at the end
        self.head = self.done = self.dirty = self.got = self.keep = False
        self.between = False  # what comes next begins with a chunk of the body
        self.fault = None  # what was found to be wrong

    def on_message_begin(self):
        if self.done:  # nothing behind the answer was asked for: raising here stops llhttp
            raise ValueError

    def on_header(self, name, value):
        self.pairs.append((name, value))

    def on_headers_complete(self):
        status = self.parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self.pairs = []
            return
        # `feed` would be too late, since some of the body may have come along.
        if len(self.pairs) > HEADERS or (self.quiet > QUIET and self.size() > QUIET):
            raise ValueError
        self.status, self.head = status, True
        found = self.headers
        for name, value in self.pairs:
            name, value = name.decode("latin-1").lower(), value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        self.pairs.clear()  # a stream may last for hours

    def size(self):
        return sum(len(name) + len(value) for name, value in self.pairs)

    def on_chunk_header(self):
        self.between = False

    def on_chunk_complete(self):
        self.between = True

    def on_message_complete(self):
        if self.head:
            self.done, self.keep = True, self.parser.should_keep_alive()
            self.parser = None

    def feed(self, data):
        """Take what one recv gave. Raises InvalidHeader for what is not HTTP.

        A fault behind some of the body waits in `fault`, since what is good comes first.
        """
        self.got = True
        if self.parser is None:  # nothing behind the answer was asked for
            self.dirty = True
            return
        self.quiet += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            self.wrong("101 was not asked for")
        except HttpParserError:
            self.wrong("not HTTP")
        if self.pieces:
            self.quiet = 0
        if self.between and not data.endswith(b"\n"):  # some of the next chunk's first line
            self.between = False
        if self.quiet > QUIET or len(self.pairs) > HEADERS:
            self.wrong("head or chunk line too long")
        if self.fault is not None and not self.pieces:
            raise self.fault

    def wrong(self, what):
        """Note a fault, which behind a whole answer spoils nothing but the connection."""
        if self.done:
            self.dirty = True
        else:
            self.fault = exceptions.InvalidHeader(what)

    def end(self):
        """The upstream has closed: a clean end only where the body was delimited by that."""
        if not self.head:
            if self.got:
                raise exceptions.InvalidHeader("closed inside the head")
            raise Reset("closed without an answer")
        if not self.done and not {"content-length", "transfer-encoding"}.isdisjoint(self.headers):
            raise exceptions.ChunkedEncodingError("body cut short")
        self.done, self.parser = True, None

    def take(self):
        """Return what has come of the body, as it came."""
        pieces = self.pieces
        if len(pieces) == 1:
            return pieces.pop()
        whole = b"".join(pieces)
        pieces.clear()
        return whole


def whole_chunk(data):
    """Return the body in bytes that are one whole HTTP chunk in its usual form, else None."""
    start = data.find(b"\r\n", 0, 8) + 2
    size = len(data) - start - 2
    if size > 0 and data[:start].lower() == b"%x\r\n" % size and data.endswith(b"\r\n"):
        return data[start:-2]
    return None


class Inflate:
    """Undoes gzip or deflate in pieces, up to INFLATED bytes in all.

    `more` tells whether what it was given amounts to more than what it has returned.
    """

    def __init__(self, coding):
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise exceptions.ContentDecodingError("unknown content encoding")
        self.bits = 47 if coding != "deflate" else 15
        self.stream, self.left = None, INFLATED
        self.held, self.more = b"", False

    def __call__(self, data=b""):
        """Return the next piece, which may be b""; `data` is given when there is no more.

        Several members may follow each other. Raises ContentDecodingError.
        """
        if self.stream is None or self.stream.eof:
            self.stream = zlib.decompressobj(self.bits)
        found = self.piece(self.held or data)
        stream = self.stream
        self.held = stream.unused_data or stream.unconsumed_tail
        # zlib may have read all and still keep the end of a full piece.
        self.more = bool(self.held) or (len(found) == PIECE and not stream.eof)
        return found

    def piece(self, data):
        try:
            found = self.stream.decompress(data, min(PIECE, self.left + 1))
        except zlib.error as exc:
            raise exceptions.ContentDecodingError("bad compression") from exc
        self.left -= len(found)
        if self.left < 0:
            raise exceptions.ContentDecodingError("answer too large")
        return found

    def end(self):
        if self.stream is not None and not self.stream.eof:
            raise exceptions.ContentDecodingError("compression cut short")
