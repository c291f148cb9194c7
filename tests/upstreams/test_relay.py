"""`model` in any JSON: renamed, and every other byte stays."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mock import bodies
from gateway.tokens import Usage
from gateway.upstreams import relay
from gateway.upstreams.dialects import chat
from tests.upstreams.calling import pure


def relaying(include_usage=None, **fields):
    options = {} if include_usage is None else {"include_usage": include_usage}
    return chat.Relay(pure(stream_options=options, **fields))


# M is where the model is written that the client does not know.
ODD = [
    '{"model":M,"choices":[]}',
    '{"model": M, "choices": []}',
    '{ "model" :\tM , "choices":[ ] }',
    '{"choices":[],"model":M}',
    '{"mod\\u0065l":M,"choices":[]}',
    '{"model":M,"choices":[],"model":M}',
    '{"a":{"model":"upstream-model"},"model":M,"choices":[]}',
    '{"a":{"model":"upstream-model"},"model" : M,"choices":[]}',
    '{"a":[{"model": "upstream-model"}],"choices":[],"model":M}',
    '{"a":[{"model":"upstream-model"}],"model":M,"choices":[],"b":{"model":"upstream-model"}}',
    '{"a":"\\"model\\":\\"upstream-model\\"","model":M,"choices":[]}',
    '{"a":"}}","b":{"model":"upstream-model"},"model" :M,"choices":[]}',
    '{"a":"}","b":{"model":"upstream-model"},"model" :M,"choices":[]}',
    '{"a":"}","b":{"model":"upstream-model"},"\\u006dodel":M,"choices":[]}',
    '{"model" :M,"choices":[{"x":"{","model":"upstream-model"},{"y":"}"},{"z":"}"}]}',
    '{"choices":[{"x":"}}"},{"x":"{","model": "upstream-model"}],"mode\\u006C":M,"b":{"c":"}"}}',
    '{"a\\"model":"upstream-model","model" :M,"choices":[]}',
    '{"choices":[{"x":"{"}],"model":M,"timings":{"x":"\\n}}\\u006f"}}',
    '{"a":"model","b":"upstream-model","model":M,"choices":[]}',
    '{"a":"{[\\\\","model":M,"choices":[]}',
    '{"n":123456789012345678901234567890,"x":1e300,"y":0.10,"model" :M,"choices":[]}',
]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("spelling", ['"upstream-model"', '"upstream\\u002dmodel"'])
def test_model_is_renamed_and_every_other_byte_stays(text, spelling):
    out = relaying().take(b"data: " + text.replace("M", spelling).encode() + b"\n\n")
    assert out.decode() == "data: " + text.replace("M", '"asked-model"') + "\n\n"


@pytest.mark.parametrize(
    "data, out",
    [
        (b'{"choices":[]}', b'{"model":"asked-model","choices":[]}'),
        (b' { "choices": [] }', b' {"model":"asked-model", "choices": [] }'),
        (b'{"model":null,"choices":[]}', b'{"model":"asked-model","choices":[]}'),
        (b'{"model": 5 ,"choices":[]}', b'{"model": "asked-model" ,"choices":[]}'),
        (b'{"choices":[],"model":["a",{"b":"}"}]}', b'{"choices":[],"model":"asked-model"}'),
        (b'{"choices":[],"model":{}}', b'{"choices":[],"model":"asked-model"}'),
        (b'{"choices":[],"model":"asked-model"}', b'{"choices":[],"model":"asked-model"}'),
    ],
)
def test_model_that_is_no_text_is_set(data, out):
    assert relaying().take(b"data: " + data + b"\n\n") == b"data: " + out + b"\n\n"


def test_object_without_anything_gets_a_model():
    assert relay.rename(b"{ }", {}, "m") == b'{"model":"m" }'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("model"), inner),
    max_leaves=8,
)


@settings(deadline=None, database=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from(["a", 'b"\\', "model", ""]) | st.text(), JSON),
    st.text(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_renaming_changes_the_model_of_any_object_and_nothing_else(found, model, indent, ascii_):
    data = json.dumps(found, ensure_ascii=ascii_, indent=indent).encode("utf-8", "replace")
    found = orjson.loads(data)
    out = relay.rename(data, found, model)
    assert orjson.loads(out) == {**found, "model": model}
    assert list(orjson.loads(out)) == list({"model": 0, **found} if "model" not in found else found)


def test_deep_and_long_json_is_renamed_without_trouble():
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    long = orjson.dumps('\\"' * 3_000_000)
    for value in (deep, b"[" * 500 + b"]" * 500, long):
        data = b'{"x":%b,"model" :"upstream-model","choices":[]}' % value
        out = relaying().take(b"data: " + data + b"\n\n")
        assert out == b"data: " + data.replace(b"upstream-model", b"asked-model") + b"\n\n"


def test_whole_answer_is_renamed_and_its_usage_read():
    body = orjson.dumps(bodies.completion("Hello you", model="upstream-model"))
    assert chat.whole(pure(stream=False), body) == (
        body.replace(b"upstream-model", b"asked-model"),
        Usage(input=1, output=2),
    )
