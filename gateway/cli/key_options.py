"""The options that say what a key may use, and what each of them takes."""

import re
import time
from decimal import Decimal

import click

from gateway.cli.durations import seconds
from gateway.config import checks
from gateway.config.mistakes import Wrong
from gateway.periods import PERIODS
from gateway.prices import NANO

MOST = 1_000_000_000  # of requests, tokens and calls at once
MOST_USD = 2**53 // NANO  # nano-USD are counted in doubles
AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
NOTHING = ("", "none")  # what takes a bound away again
UNSET = object()  # a bound that is to be taken away: None is an option that was not given


class Bound(click.ParamType):
    """Takes a value, or nothing to have no such bound."""

    def __init__(self, name, read):
        self.name, self.read = name, read

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        if value.strip().lower() in NOTHING:
            return UNSET
        try:
            return self.read(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def whole(text):
    """Return a whole number. Raises ValueError."""
    if not re.fullmatch("[0-9]{1,12}", text) or not 1 <= int(text) <= MOST:
        raise ValueError(f"{text!r} is no whole number from 1 to {MOST:,}.")
    return int(text)


def models(text):
    """Return ids of models, the same one once. Raises ValueError."""
    return _each(text, checks.model)


def endpoints(text):
    """Return names of endpoints, the same one once. Raises ValueError."""
    return _each(text, checks.endpoint)


def _each(text, check):
    found = {}
    for item in text.split(","):
        try:
            found[check(item.strip(), None)] = True
        except Wrong as exc:
            raise ValueError(f"{item.strip()!r}: {exc}".rstrip("?.") + ".") from None
    return tuple(found)


def budget(text):
    """Return (nano-USD, period) of an amount in USD. Raises ValueError."""
    amount, _, period = text.partition("/")
    if "/" in text and period not in PERIODS:
        raise ValueError(f"{period!r} is no period: {', '.join(PERIODS)}.")
    nano = int(Decimal(amount) * NANO) if AMOUNT.fullmatch(amount) else 0
    if not 1 <= nano <= MOST_USD * NANO:
        wanted = f"above 0 and up to {MOST_USD:,}, with at most 9 decimals"
        raise ValueError(f"{amount!r} is no amount in USD {wanted}.")
    return nano, period or "total"


def pair(text):
    """Return (name, value or None) of `name=value`. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is no name=value.")
    return name, value or None


OPTIONS = [
    click.option("--models", type=Bound("a,b", models), help="Ids; one may end in *."),
    click.option("--endpoints", type=Bound("a,b", endpoints), help=", ".join(checks.ENDPOINTS)),
    click.option("--rpm", type=Bound("n", whole), help="Requests a minute."),
    click.option("--tpm", type=Bound("n", whole), help="Tokens a minute."),
    click.option("--concurrency", type=Bound("n", whole), help="Calls at once."),
    click.option(
        "--budget",
        type=Bound("amount", budget),
        metavar="USD[/PERIOD]",
        help=f"USD for each {', '.join(PERIODS[:-1])}, or in total, which is meant without a word.",
    ),
    click.option(
        "--expires",
        type=Bound("duration", seconds),
        help="Time from now, such as 30d, 12h or 45m.",
    ),
    click.option(
        "--metadata",
        type=Bound("name=value", pair),
        multiple=True,
        help="A note for operators; give it once for each.",
    ),
]


def bounded(command):
    """Give a command the options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def fields(budget=None, expires=None, metadata=(), now=time.time, **given):
    """Return the fields of a Key that options give, with None for what is taken away."""
    if budget is not None:
        given["budget"], given["period"] = (UNSET, UNSET) if budget is UNSET else budget
    if expires is not None:
        given["expires_at"] = UNSET if expires is UNSET else now() + expires
    if UNSET in metadata and len(metadata) > 1:
        raise click.BadParameter("none stands alone.", param_hint="'--metadata'")
    if metadata:
        given["metadata"] = UNSET if UNSET in metadata else dict(metadata)
    found = {name: value for name, value in given.items() if value is not None}
    return {name: None if value is UNSET else value for name, value in found.items()}
