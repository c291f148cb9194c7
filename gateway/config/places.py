"""The line of every key in a valid TOML document, which tomllib does not tell."""

import re
import tomllib

BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
DOT = re.compile(r"[ \t]*\.[ \t]*")
TEXT = re.compile(
    r'''"""(?:\\.|"{1,2}(?!")|[^"\\])*"{3,5}'''
    r"""|'''(?:'{1,2}(?!')|[^'])*'{3,5}"""
    r"""|"(?:\\.|[^"\\])*"|'[^']*'""",
    re.DOTALL,
)
# Numbers, booleans and dates: a date may hold a space, so only what can follow a value ends one.
BARE = re.compile(r"[^,\]}#\n]+")


def lines(text):
    """Map each path of keys and indexes, `("upstream", 0, "name")`, to the line it starts on."""
    reader = _Reader(text)
    reader.document()
    return reader.lines


class _Reader:
    def __init__(self, text):
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.lines = {}
        self.arrays = {}

    def document(self):
        table = ()
        self.skip()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip()

    def skip(self):
        self.at = BLANK.match(self.text, self.at).end()

    def take(self, pattern):
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found and found[0]

    def header(self):
        """Read `[a.b]` or `[[a.b]]`, and return the path that its keys belong under."""
        line = self.line()
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        self.skip()
        *outer, last = self.key()
        self.skip()
        self.at += brackets
        path = ()
        for part in outer:
            path = self.newest(self.mark((*path, part), line))
        path = self.mark((*path, last), line)
        if brackets == 2:
            self.arrays[path] = self.arrays.get(path, -1) + 1
        return self.mark(self.newest(path), line)

    def newest(self, path):
        """Return the path of the last table of an array of tables; any other path as it is."""
        return (*path, self.arrays[path]) if path in self.arrays else path

    def key(self):
        parts = [plain(self.take(KEY))]
        while self.take(DOT):
            parts.append(plain(self.take(KEY)))
        return parts

    def pair(self, table):
        line, path = self.line(), table
        for part in self.key():
            path = self.mark((*path, part), line)
        self.skip()
        self.at += len("=")
        self.skip()
        self.value(path)

    def value(self, path):
        opening = self.text[self.at]
        if opening == "[":
            self.inside("]", lambda count: self.item(path, count))
        elif opening == "{":
            self.inside("}", lambda count: self.pair(path))
        elif not self.take(TEXT):
            self.take(BARE)

    def item(self, path, index):
        self.value(self.mark((*path, index), self.line()))

    def inside(self, closing, read):
        """Read what stands between brackets, separated by commas."""
        self.at += 1
        self.skip()
        count = 0
        while self.text[self.at] != closing:
            read(count)
            count += 1
            self.skip()
            if self.text[self.at] == ",":
                self.at += 1
                self.skip()
        self.at += 1

    def line(self):
        return self.text.count("\n", 0, self.at) + 1

    def mark(self, path, line):
        self.lines.setdefault(path, line)
        return path


def plain(key):
    """Return a key without quotes and escapes."""
    return next(iter(tomllib.loads(f"{key} = 0"))) if key[0] in "\"'" else key
