"""Rows of the tables of bad bodies: the body and the error that it gets, code, param, message."""

STRING_OR_PARTS = "one of a string or array of objects"
EFFORTS = "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'"


def missing(body, param):
    return body, "missing_required_parameter", param, f"Missing required parameter: '{param}'."


def wrong(body, param, expected, got):
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return body, "invalid_type", param, message


def word(body, param, value, words):
    message = f"Invalid value: '{value}'. Supported values are: {words}."
    return body, "invalid_value", param, message


def below(body, param, kind, bound, got):
    message = (
        f"Invalid '{param}': {kind} below minimum value. "
        f"Expected a value >= {bound}, but got {got} instead."
    )
    return body, f"{kind}_below_min_value", param, message


def above(body, param, kind, bound, got):
    message = (
        f"Invalid '{param}': {kind} above maximum value. "
        f"Expected a value <= {bound}, but got {got} instead."
    )
    return body, f"{kind}_above_max_value", param, message


def long(body, param, kind, bound, got):
    a_kind = f"an {kind}" if kind == "array" else f"a {kind}"
    message = (
        f"Invalid '{param}': {kind} too long. Expected {a_kind} with maximum length {bound}, "
        f"but got {a_kind} with length {got} instead."
    )
    return body, f"{kind}_above_max_length", param, message


def empty(body, param):
    message = (
        f"Invalid '{param}': empty array. "
        "Expected an array with minimum length 1, but got an empty array instead."
    )
    return body, "empty_array", param, message
