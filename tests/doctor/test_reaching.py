"""Databases, Redis and upstreams: there, away, or not as they should be."""

import pathlib
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gateway import config, database
from gateway.doctor import database as databases
from gateway.doctor import limits, upstreams
from gateway.doctor.finding import OK, PROBLEM, WARNING
from tests.doctor.found import levels, worst
from tests.upstream import refused_url

SECRET = "sk-very-secret-value"


def test_database_is_told_as_it_goes_from_missing_to_migrated(settings):
    path = pathlib.Path(database.engines.parse(settings.server.database_url).database)
    assert "not there yet" in worst(databases.check(settings))["database"][1]
    assert not path.exists()  # looking makes nothing

    path.touch(0o644)
    found = worst(databases.check(settings))["database"]
    assert found[0] == PROBLEM and "migration none" in found[1]

    database.upgrade(settings.server.database_url)
    path.chmod(0o644)
    assert "chmod 600" in worst(databases.check(settings))["database"][1]
    path.chmod(0o600)
    assert worst(databases.check(settings)) == {}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://x", "use sqlite or postgresql"),
        (f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/x", "It does not answer"),
    ],
)
def test_database_that_is_away_or_unknown_is_told_without_its_password(settings, url, words):
    settings = replace(settings, server=replace(settings.server, database_url=url))
    level, message = worst(databases.check(settings))["database"]
    assert level == PROBLEM and words in message and SECRET not in message


def test_file_that_is_no_database_is_told(settings):
    pathlib.Path(settings.server.database_url.removeprefix("sqlite:///")).write_bytes(b"x" * 5000)
    assert worst(databases.check(settings))["database"][0] == PROBLEM


def test_redis_that_is_away_is_told_without_its_password(settings):
    with refused_url() as url:
        address = url.removeprefix("http://").removesuffix("/v1")
        server = replace(settings.server, redis_url=f"redis://:{SECRET}@{address}/0")
        ((level, message),) = worst(limits.check(replace(settings, server=server))).values()
    assert level == PROBLEM and "200 ms" in message and SECRET not in message


@pytest.mark.parametrize(
    ("limit", "policy", "level"),
    [
        ("0", "noeviction", OK),
        ("100", "volatile-ttl", OK),
        ("100", "noeviction", WARNING),
        ("100", "allkeys-lru", WARNING),
    ],
)
def test_redis_that_forgets_or_refuses_is_told(limit, policy, level):
    answers = {"maxmemory": limit, "maxmemory-policy": policy}
    client = SimpleNamespace(ping=lambda: True, config_get=lambda pattern: answers)
    assert levels(limits.asked(client)) == [OK, level]


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found.getsockname()[1]


def upstream(url, **more):
    shown = {"api_key": SECRET, "timeouts": config.Timeouts(connect=1), **more}
    return config.Upstream("up", url, **shown)


def test_upstream_that_listens_is_fine_and_is_sent_nothing(listening):
    assert levels(upstreams.asked(upstream(f"http://127.0.0.1:{listening}/v1"))) == [OK]


def test_upstream_that_cannot_be_reached_is_told():
    with refused_url() as url:
        for asked in (upstream(url), upstream("https://example.com/v1", proxy=url)):
            (found,) = upstreams.asked(asked)
            assert (found.level, "cannot be reached" in found.message) == (PROBLEM, True)
    (found,) = upstreams.asked(upstream("http://no-such-host.invalid/v1"))
    assert found.level == PROBLEM and "has no address" in found.message


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({}, OK),
        ({"api_key": ""}, WARNING),
        ({"api_key": "", "headers": {"X-API-Key": SECRET}}, OK),
    ],
)
def test_missing_key_is_told_where_one_is_usual(listening, more, level):
    asked = upstream("http://api.example.com", proxy=f"http://127.0.0.1:{listening}", **more)
    assert levels(upstreams.asked(asked)) == ([OK] if level == OK else [OK, level])
    assert levels(upstreams.asked(upstream(f"http://127.0.0.1:{listening}", api_key=""))) == [OK]
