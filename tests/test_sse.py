"""Server-sent events: whatever the standard allows is read, one form is written."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import sse
from gateway.errors import UpstreamBadResponse
from gateway.sse import Decoder, Event, encode

# One block of every kind, each with the events that it amounts to; LF is replaced by other ends.
BLOCKS = [
    (b'data: {"a":1}\n\n', [Event(b'{"a":1}')]),
    (b"data:no space\n\n", [Event(b"no space")]),
    (b"data:  two spaces\n\n", [Event(b" two spaces")]),
    (b"data: trailing \n\n", [Event(b"trailing ")]),
    (b"event: named\ndata: x\n\n", [Event(b"x", b"named")]),
    (b"data: x\nevent:named\n\n", [Event(b"x", b"named")]),
    (b"data: one\ndata: two\ndata:\ndata: four\n\n", [Event(b"one\ntwo\n\nfour")]),
    (b"data\n\n", [Event(b"")]),
    (b"data: a:b: c\n\n", [Event(b"a:b: c")]),
    (b": a comment\n\n", []),
    (b":\n\n", []),
    (b": before\ndata: x\n: behind\n\n", [Event(b"x")]),
    (b"event: alone\n\n", []),
    (b"id: 1\nretry: 5000\nother: field\nnocolon\n\n", []),
    (b"id: 1\ndata: x\nretry: 1\n\n", [Event(b"x")]),
    (b"Data: x\n\n", []),
    (b" data: x\n\n", []),
    (b"\n\n\n", []),
    (b"data: [DONE]\n\n", [Event(b"[DONE]")]),
    ("data: \U0001f642é\u2028\u0085\x0b\x0c\n\n".encode(), None),
    (b"data: \xff\xfe\x00\n\n", [Event(b"\xff\xfe\x00")]),
]
ENDS = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n"}


def wanted(block, events):
    return [Event(block[6:-2])] if events is None else events


def decoded(pieces, **how):
    decoder = Decoder(**how)
    return [event for piece in pieces for event in decoder.feed(piece)]


def cut(data, places):
    places = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]


@st.composite
def transcripts(draw):
    """Draw a stream's bytes, mixed in its line ends, and its events."""
    chosen = draw(st.lists(st.sampled_from(BLOCKS), max_size=8))
    data, events = b"", []
    for block, found in chosen:
        for line in block.split(b"\n")[:-1]:
            end = draw(st.sampled_from(list(ENDS.values())))
            # A line that ends in CR, then one of nothing that ends in LF, are one end of line.
            if end == b"\n" and not line and data.endswith(b"\r"):
                end = b"\r\n"
            data += line + end
        events += wanted(block, found)
    return draw(st.sampled_from([b"", sse.BOM])) + data, events


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("block, events", BLOCKS)
def test_block_is_read_with_any_line_end_and_cut_at_any_byte(block, events, end):
    data = block.replace(b"\n", ENDS[end])
    for place in range(len(data) + 1):
        assert decoded(cut(data, [place])) == wanted(block, events)
    assert decoded(data[at : at + 1] for at in range(len(data))) == wanted(block, events)


@settings(deadline=None, database=None)
@given(transcripts(), st.data())
def test_events_do_not_depend_on_where_a_stream_is_cut(transcript, more):
    data, events = transcript
    assert decoded([data]) == events
    places = more.draw(st.lists(st.integers(0, len(data)), max_size=20))
    assert decoded(cut(data, places)) == events
    assert decoded(data[at : at + 1] for at in range(len(data))) == events


def test_events_come_as_soon_as_their_blank_line_has():
    decoder = Decoder()
    assert decoder.feed(b"data: one\n") == []
    assert decoder.feed(b"\ndata: two\r") == [Event(b"one")]
    assert decoder.feed(b"\r") == [Event(b"two")]
    assert decoder.feed(b"\ndata: three\r\n\r") == [Event(b"three")]
    assert decoder.feed(b"\n") == []


def test_byte_order_mark_counts_at_the_start_only():
    assert decoded([sse.BOM + b"data: x\n\n"]) == [Event(b"x")]
    assert decoded([sse.BOM + sse.BOM + b"data: x\n\n"]) == []
    assert decoded([b"data: x\n\n" + sse.BOM + b"data: y\n\n"]) == [Event(b"x")]
    assert decoded([b"\xef", b"", b"\xbb", b"\xbfdata: x\n\n"]) == [Event(b"x")]
    assert decoded([b"\xef\xbb", b"data: x\n\ndata: y\n\n"]) == [Event(b"y")]


@pytest.mark.parametrize("rest", [b"data: y", b"data: y\n", b"data: y\r", b"data: y\r\n"])
def test_event_without_its_blank_line_is_discarded(rest):
    assert decoded([b"data: x\n\n", rest]) == [Event(b"x")]


def test_nothing_comes_of_nothing():
    decoder = Decoder()
    assert decoder.feed(b"") == decoder.feed(b"") == []


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_too_large_an_event_is_refused_however_it_comes(size):
    fits = b"data: " + b"x" * 994
    for data, fine in [(fits, True), (fits + b"x", False), (b": " + b"x" * 999, False)]:
        stream = b"data: y\n\n" + data + b"\n\ndata: z\n\n"
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        if fine:
            assert len(decoded(pieces, limit=1002)) == 3
        else:
            with pytest.raises(UpstreamBadResponse):
                decoded(pieces, limit=1000)


def test_event_that_never_ends_is_refused():
    decoder = Decoder(limit=1000)
    with pytest.raises(UpstreamBadResponse):
        for _ in range(1000):
            decoder.feed(b"data: x\n")


def test_largest_event_is_16_mib():
    decoder, line = Decoder(), b"data: " + b"x" * 65529 + b"\n"
    for _ in range(16 * 16 - 1):
        decoder.feed(line)
    assert len(decoder.feed(line[:-3] + b"\n\n")) == 1
    for _ in range(16 * 16):
        decoder.feed(line)
    with pytest.raises(UpstreamBadResponse):
        decoder.feed(line)


def seconds(pieces, size):
    decoder, piece = Decoder(), b"x" * size
    began = time.process_time()
    decoder.feed(b"data: ")
    for _ in range(pieces):
        decoder.feed(piece)
    assert len(decoder.feed(b"\n\n")) == 1
    return time.process_time() - began


def test_huge_event_in_small_pieces_takes_linear_time():
    seconds(1000, 100)
    small = min(seconds(2_500, 100) for _ in range(3))
    large = min(seconds(40_000, 100) for _ in range(3))
    assert large < small * 16 * 5 + 0.05


@settings(deadline=None, database=None)
@given(st.recursive(st.none() | st.text() | st.integers(), st.lists), st.sampled_from([None, 1]))
def test_what_is_written_reads_the_same(value, indent):
    for ascii_only in (True, False):
        data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
        for kind in (b"", b"response.created"):
            written = encode(data, kind)
            assert written.endswith(b"\n\n") and written.count(b"\n") == 2 + bool(kind)
            [event] = decoded([written])
            assert event.type == kind
            assert json.loads(event.data) == json.loads(data)


@pytest.mark.parametrize(
    "data, written",
    [
        (b"{}", b"data: {}\n\n"),
        (b'{"a":\n1}', b'data: {"a": 1}\n\n'),
        (b'{"a":\r\n1}', b'data: {"a":  1}\n\n'),
    ],
)
def test_event_is_written_on_one_line(data, written):
    assert encode(data) == written


def test_done_and_keepalive_are_whole_blocks():
    assert decoded([sse.KEEPALIVE, sse.DONE, sse.KEEPALIVE]) == [Event(b"[DONE]")]
