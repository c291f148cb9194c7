import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import errors, sse
from gateway.upstreams import patterns
from gateway.upstreams.base import Call
from gateway.upstreams.dialects import chat


class Unguarded:
    """A watch that nothing here waits by."""


def relay(model="bench"):
    payload = {"model": model, "messages": [], "stream": True}
    return chat.Relay(Call("chat", payload, Unguarded()))


def chunk(text, model="bench", reason=None, **more):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return orjson.dumps({"id": "c", "model": model, "choices": [choice], **more})


def event(data):
    return b"data: " + data + b"\n\n"


def taken(found, blocks):
    """Return what each of the blocks gives, an error's code for one that is refused."""
    out = []
    for block in blocks:
        try:
            out.append(found.take(block))
        except errors.GatewayError as error:
            out.append(error.code)
    return out


class Unlearned(chat.Relay):
    """Looks into every chunk, as if no two were ever alike."""

    def learn(self, data):
        found = super().learn(data)
        self.pattern = patterns.NO_PATTERN
        return found


TEXTS = st.text() | st.binary()


@pytest.mark.parametrize("model", ["bench", "another"])
@given(texts=st.lists(TEXTS, max_size=6))
@example(texts=["a", "b", b'"}}],"error":{"message":"x"}}'])
@example(texts=["a", b"\xff", b"\xed\xa0\x80", b"\x1f", b"\\", b'"', b"\x7f", "é", "語"])
@example(texts=["a", b'","role":"x', b"\\u0041", b"\n\ndata: {", b"\r"])
def test_what_is_recognised_is_what_parsing_would_give(model, texts):
    start, end = event(chunk("@")).split(b"@")
    blocks = [event(chunk("first")), event(chunk("second"))]
    for text in texts:
        raw = text if isinstance(text, bytes) else orjson.dumps(text, default=str)[1:-1]
        blocks.append(start + raw + end)
    quick, slow = relay(model), Unlearned(relay(model).call)
    assert taken(quick, blocks) == taken(slow, blocks)
    assert (quick.events, quick.usage, quick.finished) == (slow.events, slow.usage, slow.finished)
    assert quick.said == slow.said


@pytest.mark.parametrize("model", ["bench", "another"])
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
@example(pairs=[("a", "b"), (b'"', "c"), ("d", b'"')])
@example(pairs=[(b'","obfuscation":"x', "b"), ("a", b'","obfuscation":"')])
@example(
    pairs=[("a", b'"},"error":{"message":"x"'), (b"\\", b"\\"), ("語", "語"), (b"\xff", b"\xff")]
)
def test_a_chunk_with_a_filler_is_recognised_as_parsing_would_take_it(model, pairs):
    start, between, end = event(chunk("@", obfuscation="@")).split(b"@")
    blocks = [event(chunk("first", obfuscation="x1y")), event(chunk("second", obfuscation="z"))]
    for pair in pairs:
        text, filler = (
            one if isinstance(one, bytes) else orjson.dumps(one, default=str)[1:-1] for one in pair
        )
        blocks.append(start + text + between + filler + end)
    quick, slow = relay(model), Unlearned(relay(model).call)
    assert taken(quick, blocks) == taken(slow, blocks)
    assert (quick.events, quick.usage, quick.finished) == (slow.events, slow.usage, slow.finished)
    assert quick.said == slow.said


def test_a_chunk_with_another_filler_is_not_parsed(monkeypatch):
    found = relay("mine")
    found.take(event(chunk("one", obfuscation="abc")))
    found.take(event(chunk("two", obfuscation="d")))
    monkeypatch.setattr(chat, "streamed", None)
    out = found.take(event(chunk("three", obfuscation="efghi")))
    assert out == event(chunk("three", "mine", obfuscation="efghi"))


def test_a_chunk_like_the_last_one_is_not_parsed(monkeypatch):
    found = relay("mine")
    found.take(event(chunk("one")))
    found.take(event(chunk("two")))
    monkeypatch.setattr(chat, "streamed", None)
    assert found.take(event(chunk("three"))) == event(chunk("three", "mine"))
    assert found.events == 3


@pytest.mark.parametrize(
    "last",
    [
        chunk("z", reason="stop"),
        chunk("z", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        chunk("z", error={"message": "no"}),
        chunk("z", "other"),
        b"[DONE]",
        b'{"choices":[]}',
    ],
)
def test_what_is_more_than_a_text_is_looked_into(last):
    blocks = [event(chunk(text)) for text in ("x", "y")] + [event(last)]
    quick, slow = relay("mine"), Unlearned(relay("mine").call)
    assert taken(quick, blocks) == taken(slow, blocks)
    assert (quick.done, quick.finished, quick.usage) == (slow.done, slow.finished, slow.usage)


def test_bytes_around_the_text_that_overlap_are_no_match():
    found = relay()
    data = b'{"choices":[{"delta":{"content":"x"}}],"a":"content"}'
    found.take(event(data))
    found.take(event(data))  # the first bytes of a stream are not learned from
    start = event(data).index(b'"x"')
    short = event(data)[: start + 1] + event(data)[start + 3 :]
    assert found.pattern.before + found.pattern.after[1:] == short
    with pytest.raises(errors.UpstreamBadResponse):
        found.take(short)


def test_usage_in_every_chunk_is_read_every_time():
    found = relay()
    for count in (1, 2, 3):
        usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": 1 + count}
        found.take(event(chunk("same", usage=usage)))
    assert found.usage.output == 3
    found.take(event(chunk("end", reason="stop")))
    assert found.pattern is patterns.NO_PATTERN


def test_a_stream_without_a_common_form_is_no_longer_learned(monkeypatch):
    learned = []
    monkeypatch.setattr(
        chat.patterns, "of", lambda data, out: learned.append(data) or patterns.NO_PATTERN
    )
    found = relay()
    for number in range(50):
        found.take(event(chunk("x", obfuscation=str(number))))
    assert len(learned) < chat.PATIENCE


def test_several_events_at_once_are_each_looked_into():
    found = relay()
    found.take(event(chunk("a")))
    both = found.take(event(chunk("b")) + event(chunk("c", reason="stop")))
    assert both == event(chunk("b")) + event(chunk("c", reason="stop"))
    assert found.finished and found.events == 3


def test_what_is_recognised_after_half_an_event_is_a_part_of_it():
    found = relay()
    found.take(event(chunk("a")))
    assert found.take(b"data: {") == b""
    with pytest.raises(errors.UpstreamBadResponse):
        found.take(event(chunk("b")))


def test_done_ends_with_the_one_form_of_it():
    found = relay()
    found.take(event(chunk("a")))
    assert found.take(event(b"[DONE]")) == sse.DONE
