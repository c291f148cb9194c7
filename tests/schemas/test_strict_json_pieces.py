"""How many commas and opening brackets a body may hold: those in strings cost nothing."""

import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidJSON
from gateway.schemas import strict_json
from gateway.schemas.strict_json import MOST_PIECES, WINDOW, parse, pieces_outside

FULL = 20 * 1024 * 1024
BEYOND = 10**9  # a limit that nothing here reaches
ODD = st.text(alphabet='\\",[{:]} ab\n\u00e9\u2028\U0001f600', max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(-9, 9) | ODD,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(ODD, inner, max_size=6),
    max_leaves=20,
)
OBJECTS = st.dictionaries(ODD, VALUES, max_size=6)
WINDOWS = st.integers(1, 40) | st.just(WINDOW)


def pieces(value):
    """Count what a value is written with: a bracket for each container, commas between items."""
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(inner) - 1, 0) + sum(map(pieces, inner))


def met(data):
    """Count what a reader meets, byte by byte, until a backslash outside of strings ends it."""
    found, inside, escaped = 0, False, False
    for char in data.decode("latin-1"):
        if escaped:
            escaped = False
        elif char == "\\":
            if not inside:
                return found
            escaped = True
        elif char == '"':
            inside = not inside
        elif not inside and char in ",[{":
            found += 1
    return found


def counted(data, most, window):
    """Count as with windows so small that everything lies across two of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "WINDOW", window)
        return pieces_outside(data, most)


def filled(start, unit, end=b"", size=FULL):
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


class Watched(bytes):
    """A body that notes the size of each part that is taken from it."""

    def __getitem__(self, key):
        part = super().__getitem__(key)
        self.__dict__.setdefault("taken", []).append(len(part))
        return part


@settings(deadline=None, database=None, max_examples=500)
@given(OBJECTS | st.lists(VALUES, max_size=6), st.booleans(), WINDOWS)
def test_pieces_in_strings_are_not_counted_and_all_others_are(value, ascii_only, window):
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert counted(data, BEYOND, window) == pieces(value)


@settings(deadline=None, database=None, max_examples=500)
@given(OBJECTS, WINDOWS)
@example({"": ""}, WINDOW)
@example({"a": "", "b": {"c": "", "d": {"e": "f"}}}, 1)
def test_object_with_just_as_many_as_it_may_is_never_above(value, window):
    data, number = json.dumps(value).encode(), pieces(value)
    assert counted(data, number, window) == number
    assert counted(data, number - 1, window) > number - 1


@settings(deadline=None, database=None, max_examples=1000)
@given(st.lists(st.sampled_from(list('\\\\\\"",[{}]:u0aA\n\xe9\xff')), max_size=60), WINDOWS)
def test_of_any_bytes_no_fewer_are_counted_than_a_reader_meets(chars, window):
    data = "".join(chars).encode("latin-1")
    found = counted(data, BEYOND, window)
    assert met(data) <= found <= sum(map(data.count, (b",", b"[", b"{")))


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("shift", range(9))
def test_run_of_backslashes_may_lie_across_the_end_of_a_window(length, shift):
    run = b"\\" * length
    data = b'{"' + b"a" * (WINDOW - shift) + run + b'",[{' + b'":[1,2]}'
    assert pieces_outside(data, BEYOND) == (4 if length % 2 == 0 else 1 + 2)


@pytest.mark.parametrize(
    "unit",
    [b",", b"[", b"{", b"12,34,abc\\n", b'{\\"k\\":[\\"v\\",{}]},', b"\\\\,", b'\\\\\\",',
     b"\\u005c,", b"\\u0022,", "é,".encode(), b"],[", b"\\/,"],
)  # fmt: skip
def test_text_may_hold_any_number_of_commas_and_brackets(unit):
    body = filled(b'{"a":"', unit, b'","b":[1,{}]}', size=3 * 1024 * 1024)
    assert parse(body) == json.loads(body)


def test_pieces_beside_such_text_are_counted():
    text = b'{"a":"' + b"," * MOST_PIECES + b'","b":['
    assert len(parse(text + b"1," * (MOST_PIECES - 4) + b"1]}")["b"]) == MOST_PIECES - 3
    with pytest.raises(InvalidJSON, match="more than 250,000 commas and opening brackets outside"):
        parse(text + b"1," * (MOST_PIECES - 2) + b"1]}")


def test_as_many_short_strings_as_pieces_allow_are_taken():
    body = b"{" + b",".join(b'"%d":","' % number for number in range(MOST_PIECES)) + b"}"
    assert len(parse(body)) == MOST_PIECES


MANY = b"," * (MOST_PIECES + 1)
# Each is filled to 20 MiB only while it is used.
HOSTILE = {
    "commas": (b"", b","),
    "brackets": (b'{"a":', b"["),
    "commas after a string": (b'{"a":",,,"', b","),
    "commas before a string without end": (b'{"a":[' + MANY + b'"', b"x"),
    "quotes": (b'{"a":"' + MANY, b'"'),
    "empty strings": (b'{"a":"' + MANY + b'"', b',""'),
    "strings of one letter": (b'{"a":"' + MANY + b'"', b'"x"'),
    "commas after escaped quotes": (b'{"a":"', b'\\"', b'"' + MANY + b"}"),
    "commas after backslashes": (b'{"a":"', b"\\\\", b'"' + MANY + b"}"),
    "commas after a byte-order mark": (b"\xef\xbb\xbf", b","),
    "commas among invalid UTF-8": (b"{", b"\xff,"),
    "commas in UTF-16": (b"\xff\xfe{\0", b",\0"),
}
UNREADABLE = {
    "commas in a string without end": (b'{"a":"', b","),
    "escaped quotes without end": (b'{"a":"' + MANY, b'\\"'),
    "backslashes without end": (b'{"a":"' + MANY, b"\\\\"),
    "one backslash at the end": (b'{"a":"' + MANY, b"\\\\", b"\\"),
    "escaped commas": (b'{"a":"', b"\\,", b'"}'),
    "line feeds": (b'{"a":"', b",\n", b'"}'),
    "invalid UTF-8": (b'{"a":"', b",\xff", b'"}'),
    "a byte-order mark": (b'\xef\xbb\xbf{"a":"', b",", b'"}'),
}


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE)
def test_more_pieces_than_may_be_are_refused_before_anything_is_parsed(parts, monkeypatch):
    monkeypatch.setattr(strict_json, "_DECODER", None)
    with pytest.raises(InvalidJSON, match="more than 250,000 commas"):
        parse(filled(*parts))


@pytest.mark.parametrize("parts", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_strings_are_refused_by_the_parser(parts):
    with pytest.raises(InvalidJSON):
        parse(filled(*parts))


@pytest.mark.parametrize("parts", (HOSTILE | UNREADABLE).values(), ids=HOSTILE | UNREADABLE)
def test_counting_takes_one_small_part_after_the_other(parts):
    watched = Watched(filled(*parts))
    tracemalloc.start()
    try:
        pieces_outside(watched, MOST_PIECES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(watched.taken) <= WINDOW and len(watched.taken) <= len(watched) // WINDOW + 1
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("name", ["commas", "brackets", "quotes", "strings of one letter"])
def test_counting_ends_where_it_is_known_to_be_too_many(name):
    watched = Watched(filled(*HOSTILE[name]))
    assert pieces_outside(watched, MOST_PIECES) > MOST_PIECES
    assert sum(watched.taken) < 2_000_000


def test_body_with_few_commas_is_not_counted_again(monkeypatch):
    monkeypatch.setattr(strict_json, "pieces_outside", None)
    assert parse(b'{"a":"' + b"," * (MOST_PIECES - 1) + b'"}')
