"""What was found wrong in a configuration, and where: a Report gathers it for one ConfigError.

No message repeats the text of a value, because any value may come from a secret by `${…}`.
"""

import difflib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Mistake:
    """`line` and `path` are None and empty when the mistake stands in the environment."""

    line: int | None
    key: str
    message: str
    path: str = ""

    def __str__(self):
        place = f"{self.path}:{self.line}" if self.line else self.path
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(Exception):
    """The configuration can't be used; `mistakes` lists why, in the order of the file."""

    def __init__(self, mistakes):
        self.mistakes = sorted(mistakes, key=lambda m: (m.line is None, m.line))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Wrong(Exception):
    """Raised by a check to refuse a value; whoever called the check knows the place."""


@dataclass
class Report:
    """The mistakes of one configuration, and what it takes to find them and say where they are.

    `folder` is what relative paths start from. `lines` maps the path of a key to its line,
    `variables` the path of a setting to the environment variable that gives it.
    """

    path: str
    folder: Path
    environ: dict = field(repr=False)
    lines: dict = field(default_factory=dict)
    variables: dict = field(default_factory=dict)
    mistakes: list = field(default_factory=list)

    def line(self, path):
        """Return the line of a key, or of the nearest table around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def close(self):
        """Raise what was gathered, if anything was."""
        if self.mistakes:
            raise ConfigError(self.mistakes)


@dataclass(frozen=True)
class Place:
    """Where a value stands: a path of keys and indexes in the file, or an environment variable."""

    report: Report
    path: tuple = ()
    variable: str = ""

    @property
    def given(self):
        """Tell whether the file or the environment says something here."""
        return bool(self.variable) or self.path in self.report.lines

    def into(self, step):
        path = (*self.path, step)
        return Place(self.report, path, self.report.variables.get(path, ""))

    def wrong(self, message):
        if self.variable:
            mistake = Mistake(None, self.variable, message)
        else:
            line = self.report.line(self.path)
            mistake = Mistake(line, dotted(self.path), message, self.report.path)
        self.report.mistakes.append(mistake)

    def read(self, check, value):
        """Return what `check` makes of the value; None, and a mistake, if it refuses."""
        try:
            return None if value is None else check(value, self)
        except Wrong as wrong:
            self.wrong(str(wrong))
            return None


def dotted(path):
    """Write a path the way TOML would, with indexes in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += "." * bool(text) + (step if BARE_KEY.fullmatch(step) else json.dumps(step))
    return text


def meant(name, known):
    """Return `, did you mean "x"?` for the nearest known name, else the list if it is short."""
    names = {other.lower(): other for other in known}
    if near := difflib.get_close_matches(name.lower(), names, n=1):
        return f", did you mean {json.dumps(names[near[0]])}?"
    return f" (known: {', '.join(names.values())})" if 0 < len(names) <= 14 else ""
