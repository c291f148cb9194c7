"""What is wrong with a field, in OpenAI's words.

A place in a body is a chain of pairs, (place of the parent, key or index), None being the body
itself. It is written out, like messages[2].content, only when there is a fault to tell of.
"""

from gateway.errors import InvalidType, InvalidValue, MissingParameter

LONGEST_VALUE = 100

_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def missing(place):
    """Return the error for a required field that is not there."""
    return MissingParameter(locate(place))


def wrong_type(place, expected, value):
    """Return the error for a value of a type that the field never takes."""
    param = locate(place)
    got = _NAMES[type(value)]
    return InvalidType(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param
    )


def wrong_word(place, words, value):
    """Return the error for a string that is none of the words allowed."""
    return InvalidValue(
        f"Invalid value: '{shown(value)}'. Supported values are: {_listed(words)}.", locate(place)
    )


def out_of_range(place, kind, low, high, value):
    """Return the error for a number outside its bounds; `kind` is "integer" or "decimal"."""
    param = locate(place)
    if low is not None and value < low:
        side, bound, code = "below minimum", f">= {low}", "below_min_value"
    else:
        side, bound, code = "above maximum", f"<= {high}", "above_max_value"
    return InvalidValue(
        f"Invalid '{param}': {kind} {side} value. "
        f"Expected a value {bound}, but got {value} instead.",
        param,
        f"{kind}_{code}",
    )


def too_long(place, kind, high, length):
    """Return the error for too many items or characters; `kind` is "array" or "string"."""
    param = locate(place)
    a_kind = f"an {kind}" if kind == "array" else f"a {kind}"
    return InvalidValue(
        f"Invalid '{param}': {kind} too long. Expected {a_kind} with maximum length {high}, "
        f"but got {a_kind} with length {length} instead.",
        param,
        f"{kind}_above_max_length",
    )


def empty_array(place):
    """Return the error for an array without the one item that it needs."""
    param = locate(place)
    return InvalidValue(
        f"Invalid '{param}': empty array. "
        "Expected an array with minimum length 1, but got an empty array instead.",
        param,
        "empty_array",
    )


def locate(place):
    """Write a place as OpenAI does: messages[2].content[0].text."""
    steps = []
    while place is not None:
        place, step = place
        steps.append(f"[{step}]" if type(step) is int else f".{shown(step)}")
    return "".join(reversed(steps)).removeprefix(".")


def shown(text):
    """Make a client's string fit for a message: at most 100 characters, all of them printable."""
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text[: LONGEST_VALUE + 1]
    )
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _listed(words):
    *rest, last = (f"'{word}'" for word in words)
    if len(rest) > 1:
        return f"{', '.join(rest)}, and {last}"
    return f"{rest[0]} and {last}" if rest else last
