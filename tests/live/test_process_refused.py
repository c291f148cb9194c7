"""Reloads whose configuration the gateway cannot use, or moves it: it serves on in any case."""

import contextlib
import os
import signal
import socket
import sqlite3

import pytest

from tests.live.load import Load
from tests.live.raw import JSON, ask, chat, connected, post
from tests.live.test_operations import cli, wait_until
from tests.live.test_process_reload import PATIENT, hang_up
from tests.serving import ROOT, Gateway, free_port, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

JOB = post(chat(), headers=JSON + "Prefer: respond-async\r\n")
NO_REDIS = """
import importlib.util
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "redis" else known(name, *more)
"""


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def own(tmp_path, upstream):
    config = write_config(tmp_path, upstream.url, server='redis_url = ""\n', **PATIENT)
    with Gateway(config, workers=2, environ={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as running:
        yield running


def change(own, old, new):
    text = own.config.read_text()
    assert text.count(old) == 1
    own.config.write_text(text.replace(old, new))


def refused(own):
    """Return why reloads were refused."""
    said = "the last good one stays in force: "
    told = [line.get("message", "") for line in own.log() if line["level"] == "error"]
    return [message.partition(said)[2] for message in told if said in message]


def reload_under_load(own):
    """Reload, and fail if a call fails."""
    with Load(own.port) as load:
        load.more(20)
        hang_up(own)
        load.more(50, 60)
    assert set(load.outcomes) == {200}, load.outcomes


def test_address_that_somebody_else_has_is_said_and_changes_nothing(own):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        change(own, f'\nbind = "127.0.0.1:{own.port}"', f'\nbind = "{taken}"')
        reload_under_load(own)
    assert refused(own) == [f"The gateway cannot listen on {taken}: Address already in use."]


def test_listener_moves_alone_and_no_call_of_the_other_fails(own):
    new = free_port()
    change(own, f'ops_bind = "127.0.0.1:{own.ops_port}"', f'ops_bind = "127.0.0.1:{new}"')
    reload_under_load(own)
    own.ops_url = f"http://127.0.0.1:{new}"
    assert own.metrics() and refused(own) == []
    wait_until(lambda: closed(own.ops_port))
    # The master sees its workers die as before.
    os.kill(own.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: len(own.worker_pids()) == 2)
    assert ask(own.port, post(chat())).status == 200


def closed(port):
    with contextlib.suppress(ConnectionRefusedError), connected(port):
        return False
    return True


def test_new_database_is_migrated_before_it_is_used(own):
    change(own, "sqlite:///gateway.db", "sqlite:///later/other.db")
    reload_under_load(own)
    key = cli(own, "keys", "create", "mine").stdout.strip()
    assert ask(own.port, post(chat(), auth=f"Authorization: Bearer {key}\r\n")).status == 200
    assert ask(own.port, JOB).status == 202
    with contextlib.closing(sqlite3.connect(own.folder / "later" / "other.db")) as database:
        assert database.execute("select count(*) from jobs").fetchone() == (1,)


def test_database_that_cannot_be_made_is_said_and_changes_nothing(own):
    (own.folder / "file").touch()
    change(own, "sqlite:///gateway.db", "sqlite:///file/other.db")
    reload_under_load(own)
    (told,) = refused(own)
    assert told.startswith("The database's folder cannot be used")
    assert ask(own.port, JOB).status == 202


def test_redis_without_its_package_is_said_and_changes_nothing(own):
    (own.folder / "sitecustomize.py").write_text(NO_REDIS)
    change(own, 'redis_url = ""', 'redis_url = "redis://127.0.0.1:1/0"')
    reload_under_load(own)
    (told,) = refused(own)
    assert "server.redis_url needs the package redis" in told


def test_file_that_is_nested_too_deep_is_said_and_changes_nothing(own):
    own.config.write_text("x" + ".x" * 1000 + " = 1\n" + own.config.read_text())
    reload_under_load(own)
    (told,) = refused(own)
    assert told.endswith("arrays and tables are nested too deeply")


def test_redis_url_that_means_nothing_is_said_and_changes_nothing(own):
    change(own, 'redis_url = ""', 'redis_url = "redis://127.0.0.1:6379/?db=limits"')
    reload_under_load(own)
    (told,) = refused(own)
    assert told.endswith("server.redis_url: its option db must be a whole number")
