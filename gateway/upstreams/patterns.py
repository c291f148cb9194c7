"""What the chunks of a stream have in common: all of their bytes but one text.

A chunk that differs from one that has been looked into by its text alone means the same, so it
need not be parsed again. That holds because a JSON string without quotes, backslashes and control
characters can be put in the place of another one anywhere.
"""

MARK = b'content":"'  # of "content", and of "reasoning_content" too
# What a text may hold without being looked at; every other byte is left over by `translate`.
PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
BEYOND = bytes(range(0x80, 0x100))


class Pattern:
    """One chunk's bytes `before` and `after` its text, and those around it in what is sent on."""

    __slots__ = ("before", "after", "start", "end", "least", "same", "put_before", "put_after")

    def __init__(self, before, after, put_before, put_after):
        self.before, self.after = before, after
        self.put_before, self.put_after = put_before, put_after
        self.start, self.end = len(before), -len(after)
        self.least = len(before) + len(after)
        self.same = (before, after) == (put_before, put_after)

    def apply(self, data):
        """Return what becomes of an event that differs in its text alone, None for any other."""
        if len(data) < self.least or not (
            data.startswith(self.before) and data.endswith(self.after)
        ):
            return None
        text = data[self.start : self.end]
        if text.translate(None, PLAIN) and not readable(text):
            return None
        return data if self.same else self.put_before + text + self.put_after


class NoPattern:
    """What no chunk is like."""

    def apply(self, data):
        return None


NO_PATTERN = NoPattern()


def of(data, out):
    """Return the Pattern of an event and of what it became, another model in it at most."""
    found, put = around(data), around(out)
    return NO_PATTERN if found is None or put is None else Pattern(*found, *put)


def around(data):
    """Return the bytes before and after the last text in an event, None if there is none."""
    start = data.rfind(MARK) + len(MARK)
    end = data.find(b'"', start)
    if start < len(MARK) or b"\\" in data[start:end]:
        return None
    return data[:start], data[end:]


def readable(text):
    """Tell whether bytes with some beyond ASCII can stand in a JSON string as they are."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return not text.translate(None, PLAIN + BEYOND)
