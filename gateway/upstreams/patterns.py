"""What the chunks of a stream have in common: all of their bytes but one text, or two.

A chunk that differs from one that has been looked into by its texts alone means the same, so it
need not be parsed again. That holds because a JSON string without quotes, backslashes and control
characters can be put in the place of another one anywhere. The second text is the filler by which
OpenAI hides how long the first one is.
"""

MARK = b'content":"'  # of "content", and of "reasoning_content" too
FILLER = b'"obfuscation":"'
# What a text may hold without being looked at; every other byte is left over by `translate`.
PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
BEYOND = bytes(range(0x80, 0x100))


class Pattern:
    """One chunk's bytes around its texts, `found`, and those around them in what is sent on, `put`.

    Both are (before, after), or (before, between, after) where there is a filler.
    """

    __slots__ = ("before", "between", "after", "start", "end", "least", "same", "put")

    def __init__(self, found, put):
        self.before, self.after = found[0], found[-1]
        self.between = found[1] if len(found) == 3 else None
        self.start, self.end = len(self.before), -len(self.after)
        self.least = len(self.before) + len(self.after)
        self.same, self.put = found == put, put

    def apply(self, data):
        """Return what becomes of an event that differs in its texts alone, None for any other."""
        if len(data) < self.least or not (
            data.startswith(self.before) and data.endswith(self.after)
        ):
            return None
        text = data[self.start : self.end]
        if self.between is not None:
            return self.filled(data, text)
        if text.translate(None, PLAIN) and not readable(text):
            return None
        return data if self.same else self.put[0] + text + self.put[1]

    def said(self, data):
        """Return how many bytes the text of an event has that the pattern fits."""
        if self.between is not None:
            return data.index(self.between, self.start) - self.start
        return len(data) - self.least

    def filled(self, data, texts):
        # What is between begins with the quote that ends the text, and the filler has no quote.
        text, between, filler = texts.partition(self.between)
        if not between or filler.translate(None, PLAIN):
            return None
        if text.translate(None, PLAIN) and not readable(text):
            return None
        if self.same:
            return data
        before, between, after = self.put
        return before + text + between + filler + after


class NoPattern:
    """What no chunk is like."""

    def apply(self, data):
        return None


NO_PATTERN = NoPattern()


def of(data, out):
    """Return the Pattern of an event and of what it became, another model in it at most."""
    found, put = around(data), around(out)
    return Pattern(found, put) if found and len(found) == len(put) else NO_PATTERN


def around(data):
    """Return the bytes around the last text in an event, and around a filler behind it; or ()."""
    start = data.rfind(MARK) + len(MARK)
    end = data.find(b'"', start)
    if start < len(MARK) or b"\\" in data[start:end]:
        return ()
    begin = data.find(FILLER, end) + len(FILLER)
    if begin < len(FILLER):
        return data[:start], data[end:]
    close = data.find(b'"', begin)
    return data[:start], data[end:begin], data[close:]


def readable(text):
    """Tell whether bytes with some beyond ASCII can stand in a JSON string as they are."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return not text.translate(None, PLAIN + BEYOND)
