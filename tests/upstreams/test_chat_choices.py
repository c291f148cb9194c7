"""Chats with several choices (`n`): a stream ends cleanly when all that began have finished."""

import pytest

from gateway import errors, sse
from tests.upstreams.test_chat_dialect import FINISHED, chunk, relayed, relaying, written


def said(index, reason=None):
    return chunk(choices=[{"index": index, "delta": {"content": "a"}, "finish_reason": reason}])


CUT = [
    [said(0), said(1), said(0, "stop")],
    [said(0, "stop"), said(1)],
    [said(0), said(2), said(2, "stop"), said(0), said(0)],
    [said(0, "stop"), said(1), chunk(choices=[], usage={"completion_tokens": 2})],
    [chunk(choices=[*said(0, "stop")["choices"], *said(1)["choices"]])],
]


@pytest.mark.parametrize("chunks", CUT)
@pytest.mark.parametrize("at_once", [True, False])
def test_end_without_done_is_a_reset_when_a_choice_has_not_finished(chunks, at_once):
    made = relaying()
    for data in [written(*chunks)] if at_once else map(written, chunks):
        made.take(data)
    with pytest.raises(errors.UpstreamReset):
        made.end()


@pytest.mark.parametrize("chunks", CUT)
def test_done_is_passed_on_whether_or_not_all_choices_have_finished(chunks):
    made, out = relayed(written(*chunks) + sse.DONE)
    assert out.endswith(sse.DONE) and made.done


@pytest.mark.parametrize(
    "chunks",
    [
        [said(0), said(1), said(1, "stop"), said(0, "length")],
        [said(0), said(0), said(0, "stop"), said(0)],
        [said(None), said(0), said([0], "stop")],
        [chunk(choices=[{"delta": {}}]), FINISHED],
    ],
)
def test_end_without_done_is_clean_when_every_choice_has_finished(chunks):
    made, out = relayed(written(*chunks))
    assert out.endswith(sse.DONE) and made.done
