"""What parse() takes and what it refuses, byte by byte."""

import math
import sys
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidJSON
from gateway.schemas.strict_json import parse

MANY = 250_000


def nested(depth):
    """Arrays in an object, so deep in all."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def pieces(count):
    """A body with so many commas and opening brackets."""
    return b'{"a":[' + b",".join([b"1"] * (count - 1)) + b"]}"


REFUSED = [
    # no document, or more than one
    b"",
    b" ",
    b"\n\t\r",
    b"{",
    b"}",
    b'{"a":1}}',
    b'{"a":1}{"a":1}',
    b'{"a":1} x',
    b'{"a":1},',
    b"\x00",
    b'{"a":1}\x00',
    b'\x0c{"a":1}',
    b'\xc2\xa0{"a":1}',
    # no object at the top
    b"[]",
    b'[{"a":1}]',
    b"null",
    b"true",
    b'"x"',
    b"1",
    b"1.5",
    # broken structure
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a":1,,"b":2}',
    b'{"a":1 "b":2}',
    b'{"a" 1}',
    b'{"a":1;"b":2}',
    b'{"a"::1}',
    b"{'a':1}",
    b"{a:1}",
    b"{1:1}",
    b"{null:1}",
    b'{"a":[1,]}',
    b'{"a":[,1]}',
    b'{"a":[1 2]}',
    b'{"a":[1}',
    b'{"a":1]',
    b'{"a":(1)}',
    b'{"a":/* x */1}',
    b'{"a":1}// x',
    b'# x\n{"a":1}',
    b'{"a":undefined}',
    b'{"a":nul}',
    b'{"a":True}',
    b'{"a":TRUE}',
    b'{"a":trueish}',
    # numbers
    b'{"a":NaN}',
    b'{"a":-NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":inf}',
    b'{"a":1e400}',
    b'{"a":-1e400}',
    b'{"a":1.5E+309}',
    b'{"a":[1,[2,{"b":1e999}]]}',
    b'{"a":01}',
    b'{"a":-01}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":1.}',
    b'{"a":-}',
    b'{"a":1e}',
    b'{"a":1e+}',
    b'{"a":1.e5}',
    b'{"a":0x10}',
    b'{"a":1_000}',
    b'{"a":1,000}',
    b'{"a":- 1}',
    b'{"a":--1}',
    '{"a":\uff11}'.encode(),
    '{"a":\u0663}'.encode(),
    b'{"a":18446744073709551616}',
    b'{"a":-9223372036854775809}',
    b'{"a":123456789012345678901}',
    b'{"a":' + b"1" * 4300 + b"}",
    b'{"a":-' + b"1" * 4301 + b"}",
    b'{"a":' + b"1" * 400_000 + b"}",
    b'{"a":' + b"9" * 400 + b".0}",
    # strings
    b'{"a":"x}',
    b'{"a":x"}',
    b'{"a":"\n"}',
    b'{"a":"\t"}',
    b'{"a":"\x00"}',
    b'{"a":"\x1f"}',
    b'{"a\n":1}',
    b'{"a":"\\x41"}',
    b'{"a":"\\"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u12G4"}',
    b'{"a":"\\u+123"}',
    b'{"a":"\\u 123"}',
    b'{"a":"\\U00000041"}',
    b'{"a":"\\a"}',
    b'{"a":"\\\'"}',
    # halves of surrogate pairs
    b'{"a":"\\ud800"}',
    b'{"a":"\\uD800"}',
    b'{"a":"\\udfff"}',
    b'{"a":"\\ude00\\ud83d"}',
    b'{"a":"\\ud83dx\\ude00"}',
    b'{"a":"\\ud83d\\ud83d\\ude00"}',
    b'{"a":{"b":["x","\\uDEAD"]}}',
    b'{"\\ud800":1}',
    # bytes that are no UTF-8
    b'{"a":"\xff"}',
    b'{"a":"\xe9"}',
    b'{"a":"\xc3"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\xe0\x80\x80"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}',
    b'{"a":"\xf8\x88\x80\x80\x80"}',
    b'\xef\xbb\xbf{"a":1}',
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-le"),
    '{"a":1}'.encode("utf-32-be"),
    # the same key twice
    b'{"a":1,"a":1}',
    b'{"a":1,"\\u0061":2}',
    b'{"a":1,"b":{"c":1,"d":2,"c":3}}',
    b'{"":1,"":1}',
    # too deep
    nested(201),
    b'{"a":' * 201 + b"1" + b"}" * 201,
    nested(990),
    nested(1100),
    nested(100_000),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a":[{"b":' * 5_000,
    # too many pieces
    pieces(MANY + 1),
    b'{"a":"' + b"," * MANY + b'","b":[' + b"," * MANY + b"]}",
    b'{"a":[' + b"{}," * 130_000 + b"{}]}",
]

ACCEPTED = [
    (b"{}", {}),
    (b' \t\r\n{ \n"a" \t: 1 \r} \n', {"a": 1}),
    (b'{"":0}', {"": 0}),
    (b'{"a":null,"b":true,"c":false}', {"a": None, "b": True, "c": False}),
    (b'{"a":[],"b":{}}', {"a": [], "b": {}}),
    (b'{"a":[[],[[]],{"b":{}}]}', {"a": [[], [[]], {"b": {}}]}),
    (b'{"a":0}', {"a": 0}),
    (b'{"a":-0}', {"a": 0}),
    (b'{"a":-1}', {"a": -1}),
    (b'{"a":9223372036854775807}', {"a": 2**63 - 1}),
    (b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
    (b'{"a":-9223372036854775808}', {"a": -(2**63)}),
    (b'{"a":0.5}', {"a": 0.5}),
    (b'{"a":-0.0}', {"a": -0.0}),
    (b'{"a":1e5}', {"a": 1e5}),
    (b'{"a":1E+5}', {"a": 1e5}),
    (b'{"a":1e-5}', {"a": 1e-5}),
    (b'{"a":1e308}', {"a": 1e308}),
    (b'{"a":1.7976931348623157e308}', {"a": sys.float_info.max}),
    (b'{"a":5e-324}', {"a": 5e-324}),
    (b'{"a":1e-400}', {"a": 0.0}),
    (b'{"a":0e999}', {"a": 0.0}),
    (b'{"a":12345678901234567890.0}', {"a": 12345678901234567890.0}),
    (b'{"a":0.' + b"1" * 5000 + b"}", {"a": 1 / 9}),
    (b'{"a":""}', {"a": ""}),
    (b'{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t"}', {"a": '"\\/\b\f\n\r\t'}),
    (b'{"a":"\\u0000"}', {"a": "\x00"}),
    (b'{"a":"\\u0041\\u00e9"}', {"a": "A\xe9"}),
    (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    (b'{"a":"\\uD83D\\uDE00\\uDBFF\\uDFFF"}', {"a": "\U0001f600\U0010ffff"}),
    (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),
    (b'{"\\ud83d\\ude00":1}', {"\U0001f600": 1}),
    (
        '{"a":"\xe9\u2028\U0001f600\ufeff\uffff"}'.encode(),
        {"a": "\xe9\u2028\U0001f600\ufeff\uffff"},
    ),
    (b'{"a":"\x7f"}', {"a": "\x7f"}),
    (b'{"a":"[[[[{{{{"}', {"a": "[[[[{{{{"}),
    (b'{"a":1,"A":1,"a ":1}', {"a": 1, "A": 1, "a ": 1}),
    (b'{"a":{"a":{"a":1}}}', {"a": {"a": {"a": 1}}}),
    (b'{"__proto__":1,"__class__":2}', {"__proto__": 1, "__class__": 2}),
    (b'{"a":"' + b"[" * 5000 + b'"}', {"a": "[" * 5000}),
    (b'{"a":[' + b"[]," * 5000 + b"[]]}", {"a": [[]] * 5001}),
]


def short(value):
    return repr(value)[:40]


@pytest.mark.parametrize("body", REFUSED, ids=short)
def test_bad_json_is_refused(body):
    with pytest.raises(InvalidJSON) as caught:
        parse(body)
    assert caught.value.status == 400
    assert caught.value.param is None
    assert caught.value.message.startswith("We could not parse the JSON body of your request")


@pytest.mark.parametrize(("body", "expected"), ACCEPTED, ids=short)
def test_good_json_is_taken_and_written_back_equal(body, expected):
    found = parse(body)
    assert found == expected
    assert parse(orjson.dumps(found)) == found


def test_minus_zero_keeps_its_sign():
    assert math.copysign(1, parse(b'{"a":-0.0}')["a"]) == -1


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_two_hundred_levels_are_taken_and_written_back(opening, closing):
    inner = b"1" if opening != b"[" else b""
    body = b'{"a":' + opening * 199 + inner + closing * 199 + b"}"
    assert parse(orjson.dumps(parse(body))) == parse(body)
    with pytest.raises(InvalidJSON, match="deeper than 200"):
        parse(b'{"a":' + body + b"}")


def test_a_quarter_of_a_million_pieces_are_taken():
    assert len(parse(pieces(MANY))["a"]) == MANY - 1


@pytest.mark.parametrize(
    "body",
    [b"," * 20_000_000, b"[" * 20_000_000, b'{"a":' * 40_000, b'{"a":' + b"7" * 5_000_000 + b"}"],
    ids=["commas", "brackets", "objects", "digits"],
)
def test_hostile_bodies_are_refused_quickly(body):
    start = time.process_time()
    with pytest.raises(InvalidJSON):
        parse(body)
    assert time.process_time() - start < 0.5


JSONISH = st.text(alphabet='{}[]",:\\ud8Dc019.eE+-truefalsn \n\x00\u00e9', max_size=60)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None, database=None, max_examples=500)
@given(st.binary() | JSONISH.map(str.encode) | JSONISH.map(lambda text: f'{{"a":{text}}}'.encode()))
def test_any_bytes_are_parsed_or_refused(body):
    try:
        found = parse(body)
    except InvalidJSON:
        return
    assert parse(orjson.dumps(found)) == found == orjson.loads(body)


@settings(deadline=None, database=None)
@given(st.dictionaries(st.text(), VALUES))
def test_any_object_survives_being_written_and_parsed(value):
    assert parse(orjson.dumps(value)) == value
