"""Faults in the middle of an answer, most of them after N right events.

They hit whole answers too: those then come chunked and count as one event, the half of the body.
"""

import zlib
from itertools import chain, repeat

from gateway.mock.answers import DONE, Bare, encoded, sse, stream, trickle
from gateway.mock.bad_heads import SOON
from gateway.mock.openai import JSON, RESPONSES, SSE, content, reply
from gateway.mock.wire import FIN, HANG, RST

FAILED = {"message": "The mock failed.", "type": "server_error", "param": None, "code": None}
BAD_UTF8 = b'data: {"choices": [], "mock": "\xff\xfe"}\n\n'
LONG_LINE = [b"data: ", *repeat(b"a" * (1 << 20), 64)]
LONG_EVENT = [b"".join(repeat(b"data: " + b"a" * 1017 + b"\n", 1024))] * 32
LONG_SIZE = Bare(b"0" * 200_000 + b"1\r\na\r\n")


def pieces(request, least=0):
    """Return whether the answer is a stream, and at least two pieces of a right one."""
    kind, found = content(request, least=least)
    if kind == SSE:
        return True, [*map(encoded, found), DONE]
    body = found[0]
    return False, [body[: len(body) // 2], body[len(body) // 2 :]]


def changed(change, least=0, **how):
    """Give a right answer whose pieces `change` has put in order anew."""

    def answer(request):
        is_stream, found = pieces(request, least)
        kind = SSE if is_stream else JSON
        yield from stream(change(found), done=False, content_type=kind, **how)(request)

    return answer


def after(n, *ending):
    """Send n right pieces, then `ending`, then the end of the body."""
    return changed(lambda found: chain(found[: min(n, len(found) - 1)], ending), least=n)


def inserted(n, *odd):
    """Send n right pieces, then the odd ones, then the rest."""

    def put(found):
        at = min(n, len(found) - 1)
        return chain(found[:at], odd, found[at:])

    return changed(put, least=n)


def streamed(change, headers=()):
    """Change streams only; a whole answer stays right."""
    wrong = changed(change, headers=headers)
    right = reply()
    return lambda request: (wrong if pieces(request)[0] else right)(request)


def failed(n):
    def answer(request):
        flat = {"type": "error", "code": "server_error", "message": "The mock failed."}
        error = sse(flat, "error") if request.path == RESPONSES else sse({"error": FAILED})
        yield from after(n, error)(request)

    return answer


def endless(n):
    """Repeat the middle of an answer for ever, every n ms; of a whole answer, a space."""

    def more(found):
        half = len(found) // 2
        again = found[half] if found[half].endswith(b"\n\n") else b" "
        return chain(found[:half], repeat(again))

    return changed(more, delay=n / 1000)


def odd_but_legal(found):
    """Write a stream in every way that the standard for server-sent events allows."""
    yield b"\xef\xbb\xbf: a comment\n\nretry: 5000\nid: 1\nunknown: field\n\n"
    for number, event in enumerate(found):
        if number % 2:
            event = event.replace(b"data: ", b"data:", 1)
        else:
            event = event.replace(b"{", b"{\ndata: ", 1)
        yield event.replace(b"\n", (b"\n", b"\r\n", b"\r")[number % 3]) + b":\n"


def compressed(found):
    squeeze = zlib.compressobj(wbits=31)
    for piece in found:
        yield squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    yield squeeze.flush()


def careless(request):
    """Stream a Response as some servers do: created twice, no numbers, no indexes, no [DONE]."""
    kind, found = content(request)
    if kind == SSE and request.path == RESPONSES:
        left_out = {"sequence_number", "output_index", "content_index"}
        events = [{k: v for k, v in event.items() if k not in left_out} for event in found]
        return stream([events[0], *events], done=False)(request)
    return reply()(request)


ROWS = [
    ("mock-cut-after-N", "resets after N events", lambda n: after(n, SOON, RST)),
    ("mock-close-after-N", "closes after N events, without a last chunk", lambda n: after(n, FIN)),
    ("mock-end-after-N", "ends the body after N events, without [DONE]", lambda n: after(n)),
    (
        "mock-no-done",
        "sends all but [DONE]",
        lambda: streamed(lambda found: found[:-1]),
    ),
    ("mock-stall-after-N", "goes silent after N events", lambda n: after(n, HANG)),
    (
        "mock-pings-after-N",
        "sends only comments after N events, every 200 ms",
        lambda n: changed(
            lambda found: chain(found[:n], chain.from_iterable(repeat((0.2, b": ping\n\n")))), n
        ),
    ),
    (
        "mock-stall-after-done",
        "never ends the body after [DONE]",
        lambda: changed(lambda found: [*found, HANG]),
    ),
    ("mock-slow-N", "waits N ms between events", lambda n: changed(list, delay=n / 1000)),
    ("mock-trickle", "sends its body byte by byte, 200 ms apart", lambda: trickle(reply())),
    ("mock-endless-N", "sends an event every N ms for ever", endless),
    ("mock-unframed", "streams without chunks, until it closes", lambda: reply(framing="close")),
    ("mock-split-N", "streams in pieces of N bytes", lambda n: reply(split=max(n, 1))),
    (
        "mock-odd-sse",
        "streams legal but odd events: BOM, comments, CR, CRLF, many lines",
        lambda: streamed(odd_but_legal),
    ),
    (
        "mock-unfinished-event",
        "leaves out the blank line after the last event",
        lambda: streamed(lambda found: [*found[:-1], DONE[:-1]]),
    ),
    (
        "mock-no-data",
        "streams JSON without `data:`",
        lambda: streamed(lambda found: [piece.replace(b"data: ", b"") for piece in found]),
    ),
    (
        "mock-bad-json-after-N",
        "sends broken JSON after N events",
        lambda n: inserted(n, b'data: {"choices": [\n\n'),
    ),
    ("mock-bad-utf8-after-N", "sends broken UTF-8 after N events", lambda n: inserted(n, BAD_UTF8)),
    (
        "mock-nan-after-N",
        "sends NaN after N events",
        lambda n: inserted(n, b'data: {"choices": [], "mock": NaN}\n\n'),
    ),
    (
        "mock-scalar-after-N",
        "sends an event that is no object after N events",
        lambda n: inserted(n, b"data: 42\n\n"),
    ),
    ("mock-error-after-N", "sends an error event after N events, then ends", failed),
    (
        "mock-bad-chunk-after-N",
        "sends a chunk size `zz` after N events",
        lambda n: after(n, Bare(b"zz\r\n")),
    ),
    (
        "mock-long-chunk-size-after-N",
        "sends a chunk size of 200,000 digits after N events",
        lambda n: after(n, LONG_SIZE),
    ),
    (
        "mock-long-line-after-N",
        "sends a line of 64 MiB after N events",
        lambda n: after(n, *LONG_LINE),
    ),
    (
        "mock-long-event-after-N",
        "sends an event of 32 MiB in short lines after N events",
        lambda n: after(n, *LONG_EVENT),
    ),
    (
        "mock-gzip",
        "compresses its answer without being asked, event by event",
        lambda: changed(compressed, headers={"content-encoding": "gzip"}),
    ),
    (
        "mock-careless",
        "streams Responses with `created` twice, no numbers, no [DONE]",
        lambda: careless,
    ),
]
