"""What every exchange has used: one row each, written in batches off the hot path, kept and summed.

    rows      what a row says
    writing   rows into the database, with the sums of their hour
    recorder  takes rows at once and has them written a moment later
    spool     rows on disk while the database is away
    sweep     rows that are older than they are kept
    report    what was used, by key, model or day

What runs in the background is imported from its own file: a command needs none of it.
"""

from gateway.usage.report import report, spent
from gateway.usage.rows import ABSENT, ESTIMATED, UPSTREAM, estimate, row
from gateway.usage.writing import insert

__all__ = [
    "ABSENT",
    "ESTIMATED",
    "UPSTREAM",
    "estimate",
    "insert",
    "report",
    "row",
    "spent",
]
