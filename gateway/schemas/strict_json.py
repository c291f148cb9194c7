"""Bytes to a JSON object, refusing whatever two readers could read differently.

What parse() accepts, orjson.dumps writes so that it reads back equal. The standard library parses,
because only it shows duplicate keys and the digits of numbers. Everything else is looked at only
when the bytes give reason to.
"""

import math
from json import JSONDecoder

import orjson

from gateway.errors import InvalidJSON

MOST_PIECES = 250_000  # commas and opening brackets outside of strings
WINDOW = 64 * 1024  # bytes looked at in one go: little memory, and other threads get their turn
DEEPEST = 200
SMALLEST_WHOLE, LARGEST_WHOLE = -(2**63), 2**64 - 1


def parse(body: bytes) -> dict:
    """Return the object that `body` holds, or raise InvalidJSON."""
    # One pass of translate costs the same whatever the bytes are; count() is slow on many hits.
    pieces = len(body) - len(body.translate(None, b",[{"))
    if pieces > MOST_PIECES and pieces_outside(body, MOST_PIECES) > MOST_PIECES:
        reason = f"{MOST_PIECES:,} commas and opening brackets outside of strings"
        raise _refusal(f"it holds more than {reason}")
    try:
        found = _DECODER.decode(str(body, "utf-8"))
    except (ValueError, RecursionError) as exc:
        raise InvalidJSON() from exc
    if type(found) is not dict:
        raise _refusal("it is not a JSON object")
    if pieces > DEEPEST:
        _refuse_depth(found)
    # Looking for one byte takes a tenth of what looking for several does.
    if b"\\" in body and b"\\u" in body and (b"\\ud" in body or b"\\uD" in body):
        _refuse_lone_surrogates(found)
    return found


def pieces_outside(body: bytes, most: int) -> int:
    """Return how many commas and opening brackets of an object or array are outside of strings.

    Where they are above `most`, some number above it. What is no JSON counts in full up to the byte
    at which a parser gives up.
    """
    pieces = quotes = escaped = 0
    for start in range(0, len(body), WINDOW):
        window = body[start + escaped : start + WINDOW]
        escaped = (len(window) - len(window.rstrip(b"\\"))) % 2
        if b"\\" in window:
            window = window.replace(b"\\\\", b"").replace(b'\\"', b"")
        texts = window.split(b'"')
        outside = b"".join(texts[quotes % 2 :: 2])
        quotes += len(texts) - 1
        pieces += len(outside) - len(outside.translate(None, b",[{"))
        # A piece has two strings at most, a key and its value: more is no JSON, or counts later.
        if pieces > most or quotes > 4 * most:
            return max(pieces, most + 1)
    return pieces


def _refusal(reason):
    return InvalidJSON(f"We could not parse the JSON body of your request: {reason}.")


def _refuse_depth(found):
    level = [found]
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise _refusal(f"it is nested deeper than {DEEPEST} levels")


def _refuse_lone_surrogates(found):
    # The decoder joins the two halves of a pair, so what is left over can't be written as UTF-8.
    try:
        orjson.dumps(found)
    except TypeError as exc:
        raise _refusal("a string holds half of a surrogate pair") from exc


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refusal("an object holds the same key twice")
    return found


def _whole(digits):
    # int() of over 4,300 digits raises, and takes long well before that.
    if len(digits) <= 20 and SMALLEST_WHOLE <= (number := int(digits)) <= LARGEST_WHOLE:
        return number
    raise _refusal("an integer does not fit into 64 bits")


def _finite(digits):
    number = float(digits)
    if math.isinf(number):
        raise _refusal("a number is too large")
    return number


def _refuse_constant(name):
    raise _refusal(f"{name} is no JSON")


_DECODER = JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_whole,
    parse_float=_finite,
    parse_constant=_refuse_constant,
)
