"""Faults of the connection and of the head: no answer, half a head, a head that is not HTTP."""

from itertools import chain, repeat

from gateway.mock.answers import edited, hang, raw, trickle
from gateway.mock.openai import reply
from gateway.mock.wire import FIN, HANG, RST

START = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-half"
# What was sent has to be read before the RST, which may throw away what was not.
SOON = 0.05


def preceded(data, answer):
    """Send some bytes, then the head and body of another answer."""
    return lambda request: chain([data], answer(request))


def drip(start, piece, delay):
    """Send the start of something, and more of it for ever."""
    return lambda request: chain([start], chain.from_iterable(repeat((delay, piece))))


def informed(status, phrase, headers=""):
    return preceded(f"HTTP/1.1 {status} {phrase}\r\n{headers}\r\n".encode(), reply())


def with_headers(pairs):
    return reply(headers=pairs)


def bare_lf(head):
    return head.replace(b"\r\n", b"\n")


def folded(head):
    return head.replace(b"\r\n\r\n", b"\r\nx-folded: one\r\n two\r\n\r\n")


ROWS = [
    ("mock-close", "closes the connection without a byte", lambda: raw([FIN])),
    ("mock-reset", "resets the connection without a byte", lambda: raw([RST])),
    ("mock-hang", "never sends a byte", lambda: raw([HANG])),
    ("mock-late-N", "answers rightly after N ms", lambda n: hang(n / 1000, reply())),
    ("mock-close-in-head", "closes in the middle of the head", lambda: raw([START, FIN])),
    ("mock-reset-in-head", "resets in the middle of the head", lambda: raw([START, SOON, RST])),
    ("mock-stall-in-head", "goes silent in the middle of the head", lambda: raw([START, HANG])),
    ("mock-drip-head", "adds to its head for ever, slowly", lambda: drip(START, b"-a", 0.1)),
    (
        "mock-slow-head",
        "sends a right answer's head over about a second",
        lambda: trickle(reply(), 10, 0.1, "head"),
    ),
    ("mock-garbage", "sends what is no HTTP", lambda: raw([b"220 mock ESMTP ready\r\n\r\n"])),
    ("mock-bare-lf", "ends the lines of its head with bare LF", lambda: edited(reply(), bare_lf)),
    ("mock-folded-head", "folds a header over two lines", lambda: edited(reply(), folded)),
    (
        "mock-long-header",
        "sends a header of 70,000 bytes",
        lambda: with_headers({"x-long": "a" * 70_000}),
    ),
    (
        "mock-many-headers",
        "sends 200 headers",
        lambda: with_headers([(f"x-{number}", "a") for number in range(200)]),
    ),
    (
        "mock-huge-head",
        "sends a head of 1 MB",
        lambda: with_headers([(f"x-{number}", "a" * 50_000) for number in range(20)]),
    ),
    (
        "mock-odd-headers",
        "sends cookies, hop-by-hop headers and a wrong request id with a right answer",
        lambda: with_headers(
            [
                ("set-cookie", "session=mock; Path=/"),
                ("set-cookie", "other=mock"),
                ("connection", "x-hop, keep-alive"),
                ("x-hop", "mock"),
                ("keep-alive", "timeout=5"),
                ("server", "mock"),
                ("x-request-id", "mock"),
            ]
        ),
    ),
    ("mock-100", "sends 100 before the answer", lambda: informed(100, "Continue")),
    (
        "mock-103",
        "sends 103 with a link before the answer",
        lambda: informed(103, "Early Hints", "link: </mock.css>; rel=preload\r\n"),
    ),
    (
        "mock-endless-100",
        "sends 100 Continue for ever",
        lambda: drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    ),
    (
        "mock-101",
        "switches to another protocol",
        lambda: raw(
            [b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: mock\r\n\r\n"],
            HANG,
        ),
    ),
]
