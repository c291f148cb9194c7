"""Durations as commands take them: 30d, 12h, 45m, 90s."""

import re

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
FORM = re.compile(r"([0-9]{1,12})([smhdw])")
LONGEST = 36500 * 86400  # a century


def seconds(text):
    """Return the seconds of a duration, which is never 0. Raises ValueError, a sentence."""
    found = FORM.fullmatch(text)
    length = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < length <= LONGEST:
        raise ValueError(f"{text!r} is no duration such as 30d, 12h, 45m or 90s.")
    return length


class Duration(click.ParamType):
    """Turns a duration into seconds; a bare 0 is none at all."""

    name = "duration"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            return 0 if value == "0" else seconds(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
