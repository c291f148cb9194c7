"""Streams of responses as upstreams send them and clients read them, and what holds for each."""

from pathlib import Path

import openai
import orjson

from gateway import sse
from gateway.mock import answers, bodies
from gateway.translate.response import ECHOED
from gateway.upstreams.dialects import responses
from tests.upstreams.calling import SECRET, events, pure

TRANSCRIPT = Path(__file__).with_name("transcripts") / "llama-responses.sse"
GOOD = bodies.response_events("Hello you there", model="upstream-model", id="resp_theirs")


KEYS = {
    *ECHOED,
    *("id", "object", "created_at", "status", "completed_at", "error", "incomplete_details"),
    *("model", "output", "store", "usage"),
}
OPENING = ["response.created", "response.in_progress"]


def written(*found):
    return b"".join(sse.encode(orjson.dumps(event), event["type"].encode()) for event in found)


def relaying(stateful=False, **fields):
    call = pure("responses", **fields)
    call.stateful, call.secrets = stateful, (SECRET,)
    return responses.Relay(call)


def relayed(*found, **how):
    """Return the relay and the (type, event) that the client gets."""
    made = relaying(**how)
    return made, events([made.take(written(*found))])


def kinds(found):
    return [kind for kind, _ in found]


def without(event, *names):
    return {name: value for name, value in event.items() if name not in names}


def plain(item):
    if isinstance(item, dict):
        return {k: plain(v) for k, v in item.items() if not k.startswith("parsed")}
    return [plain(part) for part in item] if isinstance(item, list) else item


def check(found):
    """Assert what holds for every stream of a response that has come to its end."""
    assert found[-1] == ("", "[DONE]")
    for number, (kind, event) in enumerate(found[:-1]):
        assert event["type"] == kind and event["sequence_number"] == number
    assert kinds(found)[:2] == OPENING
    assert [kind for kind in kinds(found) if kind in OPENING] == OPENING
    told = [event["response"] for _, event in found[:-1] if "response" in event]
    assert all(set(response) >= KEYS for response in told)
    for name in ("id", "created_at", "model", "object"):
        assert len({response[name] for response in told}) == 1
    assert told[0]["model"] == "asked-model"
    items = [e for k, e in found[:-1] if k == "response.output_item.added"]
    assert [event["output_index"] for event in items] == list(range(len(items)))


def folded(upstream, data):
    """Return what openai's own helper makes of a stream."""
    upstream.enqueue(answers.stream([data], done=False))
    with openai.OpenAI(base_url=upstream.url, api_key="k", max_retries=0) as client:
        with client.responses.stream(model="asked-model", input="Say hi") as stream:
            return stream.get_final_response()


BARE = {"id": "resp_theirs", "object": "response", "status": "in_progress"}


def tool(**fields):
    return {"type": "function_call", "name": "f", "status": "in_progress", **fields}
