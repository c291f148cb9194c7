import csv
import datetime
import io
import json
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from click.testing import CliRunner

from gateway import usage
from gateway.cli import main
from gateway.keys import KeyStore
from tests.test_usage import made

BIG = 9_007_199_254_740_993  # no float holds it


def run(*arguments):
    return CliRunner().invoke(
        main, ["usage", *arguments], prog_name="gateway", catch_exceptions=False
    )


@pytest.fixture
def key(database):
    """A key whose use cost much, one that is gone, and what nobody has counted."""
    key, _ = KeyStore(database).create("[red]é[/red]")
    ago = time.time() - 3 * 3600
    rows = [
        made(1, key=key.id, model="a/b", created_at=ago, input_tokens=10, cached_tokens=4,
             output_tokens=3, reasoning_tokens=1, cost=BIG - 1),
        made(2, key=key.id, model="a/b", created_at=ago, cost=1),
        made(3, key="key_gone", model="c", created_at=ago, input_tokens=5, cost=1_500_000_000),
        made(4, key="key_gone", model="d", created_at=ago),
        made(5, key="key_gone", model="d", created_at=ago - 30 * 86400, cost=10**9),
    ]  # fmt: skip
    database.write(lambda c: usage.insert(c, rows))
    return key


def test_table_shows_names_as_they_are_and_ids(key):
    done = run()
    assert (done.exit_code, done.stderr) == (0, "")
    title, *lines = [line.split() for line in done.stdout.splitlines()]
    assert title == [
        "name",
        "id",
        "requests",
        "input",
        "cached",
        "output",
        "reasoning",
        "cost",
        "(USD)",
    ]
    assert lines == [
        ["[red]é[/red]", key.id, "2", "10", "4", "3", "1", "9007199.254740993"],
        ["key_gone", "2", "5", "1.5"],
    ]


def test_json_is_exact_and_null_where_nobody_knows(key):
    text = run("--json").stdout
    found = json.loads(text, parse_float=Decimal)
    counts = (
        "requests",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost",
    )
    assert list(found[0]) == ["name", "id", *counts]
    assert list(found[0].values()) == ["[red]é[/red]", key.id, 2, 10, 4, 3, 1, Decimal(BIG) / 10**9]
    assert list(found[1].values()) == [None, "key_gone", 2, 5, None, None, None, Decimal("1.5")]


def test_csv_is_exact_and_empty_where_nobody_knows(key):
    rows = list(csv.reader(io.StringIO(run("--csv", "--by", "model").stdout)))
    assert rows == [
        [
            "model",
            "requests",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost",
        ],
        ["a/b", "2", "10", "4", "3", "1", "9007199.254740993"],
        ["c", "1", "5", "", "", "", "1.5"],
        ["d", "1", "", "", "", "", ""],
    ]


def test_days_are_utc_and_in_order(key):
    day = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=3)
    before = (day - datetime.timedelta(days=30)).strftime("%Y-%m-%d")
    found = json.loads(run("--by", "day", "--since", before, "--json").stdout)
    assert [(row["day"], row["requests"]) for row in found] == [
        (before, 1),
        (day.strftime("%Y-%m-%d"), 4),
    ]


@pytest.mark.parametrize(
    "since, requests",
    [("30m", None), ("24h", 2), ("7d", 2), ("4w", 2), ("5w", 3), ("1970-01-01", 3)],
)
def test_window_begins_where_it_is_told(key, since, requests):
    rows = json.loads(run("--since", since, "--json").stdout)
    found = {row["id"]: row["requests"] for row in rows}
    assert found.get("key_gone") == requests


@pytest.mark.parametrize("since", ["7", "yesterday", "2026-13-01", "-1d", "0d", "2026-01"])
def test_since_that_is_none_is_a_usage_error(database, since):
    done = run("--since", since)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--since" in done.stderr


def test_nothing_used_is_said(database):
    done = run()
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "Nothing was used in this time.\n"
    assert run("--json").stdout == "[]\n"
    assert run("--csv").stdout.startswith("name,id,requests,") and run("--csv").exit_code == 0


def test_report_imports_nothing_that_only_serves(key):
    program = "import sys; from gateway.cli import main; main(['usage'], standalone_mode=False)"
    program += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(done.stdout.decode().splitlines()[-1].split())
    assert {"gateway.usage.report", "sqlalchemy"} <= loaded
    serving = {"flask", "gevent", "gunicorn", "prometheus_client", "requests", "marshmallow"}
    assert loaded & (serving | {"alembic", "lmdb"}) == set()
