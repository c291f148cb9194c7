"""The periods of budgets: calendar days, ISO weeks and months in UTC, and the total of all time."""

import calendar
import time

PERIODS = ("day", "week", "month", "total")
DAY = 86400
WEEK = 7 * DAY
MONDAY = 4 * DAY  # The unix epoch was a Thursday, and the Monday after it day 4.


def start(period, now):
    """Return the unix second at which the period around `now` began; 0 for the total."""
    now = int(now // 1)
    if period == "day":
        return now - now % DAY
    if period == "week":
        return now - (now - MONDAY) % WEEK
    if period == "month":
        return _first(*time.gmtime(now)[:2])
    return _total(period, 0)


def end(period, now):
    """Return the unix second at which the period around `now` ends; None for the total."""
    if period == "day":
        return start("day", now) + DAY
    if period == "week":
        return start("week", now) + WEEK
    if period == "month":
        year, month = time.gmtime(now)[:2]
        return _first(year + month // 12, month % 12 + 1)
    return _total(period, None)


def _first(year, month):
    return calendar.timegm((year, month, 1, 0, 0, 0))


def _total(period, value):
    if period != "total":
        raise ValueError(f"There is no period {period!r}.")
    return value
