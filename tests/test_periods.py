import calendar
from datetime import UTC, datetime, timedelta

import pytest

from gateway import periods


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "now", "began", "ends"),
    [
        ("day", "2026-02-28T23:59:59.999", "2026-02-28", "2026-03-01"),
        ("day", "2026-03-01", "2026-03-01", "2026-03-02"),
        ("day", "2024-02-28T12:00", "2024-02-28", "2024-02-29"),
        ("week", "2026-01-01T10:00", "2025-12-29", "2026-01-05"),
        ("week", "2026-01-04T23:59:59.999", "2025-12-29", "2026-01-05"),
        ("week", "2026-01-05", "2026-01-05", "2026-01-12"),
        ("week", "1970-01-01", "1969-12-29", "1970-01-05"),
        ("month", "2026-12-31T23:59:59.999", "2026-12-01", "2027-01-01"),
        ("month", "2024-02-29T01:00", "2024-02-01", "2024-03-01"),
        ("month", "2026-01-01", "2026-01-01", "2026-02-01"),
    ],
)
def test_period_is_one_of_the_calendar_s_in_utc(period, now, began, ends):
    assert periods.start(period, at(now)) == at(began)
    assert periods.end(period, at(now)) == at(ends)


def test_total_began_with_the_epoch_and_never_ends():
    assert (periods.start("total", 1e9), periods.end("total", 1e9)) == (0, None)


def test_every_day_of_years_lies_within_its_periods():
    for number in range(3 * 366):
        moment = datetime(2023, 1, 1, 7, 30, tzinfo=UTC) + timedelta(number)
        now, midnight = moment.timestamp(), moment.replace(hour=0, minute=0)
        monday = midnight - timedelta(moment.isocalendar().weekday - 1)
        assert periods.start("day", now) == midnight.timestamp()
        assert periods.start("week", now) == monday.timestamp()
        assert periods.start("month", now) == midnight.replace(day=1).timestamp()
        days = calendar.monthrange(moment.year, moment.month)[1]
        assert periods.end("month", now) - periods.start("month", now) == days * 86400
        for period in ("day", "week", "month"):
            assert periods.start(period, periods.end(period, now)) == periods.end(period, now)
            assert periods.end(period, periods.end(period, now) - 0.001) == periods.end(period, now)


def test_bounds_are_whole_seconds():
    for period in ("day", "week", "month"):
        assert isinstance(periods.start(period, 1.5e9 + 0.5), int)
        assert isinstance(periods.end(period, 1.5e9 + 0.5), int)


@pytest.mark.parametrize("period", ["year", "", None])
def test_unknown_period_is_an_error(period):
    for bound in (periods.start, periods.end):
        with pytest.raises(ValueError, match="no period"):
            bound(period, 0)
