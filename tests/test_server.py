import logging
import os
import types

import gunicorn
import pytest

from gateway import draining, metric_files, server, workers
from tests.serving import write_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The path of a good configuration that the environment names."""
    path = write_config(tmp_path, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    monkeypatch.setenv(metric_files.FOLDER, str(tmp_path))
    monkeypatch.setattr(server, "_current", None)
    monkeypatch.setattr(server, "_at", None)
    return path


def test_gunicorn_is_the_version_whose_parser_was_examined():
    assert gunicorn.__version__ == "27.0.1"


def test_settings_shut_what_smuggles_requests_and_moves_paths(config):
    found = server.settings("gateway.wsgi:app")

    assert found["http_parser"] == "python"
    assert (found["forwarder_headers"], found["header_map"]) == ("", "refuse")
    assert found["control_socket_disable"] is True
    assert found["preload_app"] is False
    assert found["wsgi_app"] == "gateway.wsgi:app"


def test_settings_bind_both_listeners_and_leave_room_for_refusals(config):
    found = server.settings("x")
    text = config.read_text()

    assert len(found["bind"]) == 2
    assert all(f'bind = "{bind}"' in text for bind in found["bind"])
    assert found["worker_connections"] > 2000
    assert found["graceful_timeout"] == 5
    assert found["umask"] == 0o077


def test_workers_follow_the_environment(config, monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert server.settings("x")["workers"] == 3
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    assert server.settings("x")["workers"] == os.cpu_count()


def test_bad_file_at_the_start_ends_it_with_its_mistakes(config):
    config.write_text("[server]\nbnid = 1\n")
    with pytest.raises(SystemExit) as caught:
        server.reread()
    assert "bnid" in str(caught.value)


def test_bad_file_later_keeps_the_last_good_one_and_says_why(config, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    good = server.reread()
    config.write_text("[server]\nbnid = 1\n")

    assert server.reread() is good
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "bnid" in record.getMessage()


def test_changed_file_takes_effect_at_the_next_reading(config):
    before = server.reread()
    config.write_text(config.read_text().replace("drain = 5", "drain = 7"))

    assert server.settings("x")["graceful_timeout"] == 7
    assert server.current() is not before


def test_settings_without_a_master_are_read_at_once(config):
    assert server.current().server.drain == 5


def test_reload_does_not_wait_for_old_workers_and_ends_them_first(config):
    server.reread()
    old = [types.SimpleNamespace(age=age) for age in (1, 4)]
    master = types.SimpleNamespace(worker_age=4, WORKERS=workers.Workers(enumerate(old)))
    server.on_reload(master)
    assert all(4 < worker.age < 5 for worker in old)  # above all before, below the next
    assert len(master.WORKERS) == 0


def test_start_takes_the_flag_of_a_drain_down(config, monkeypatch):
    monkeypatch.setattr(server, "migrate", lambda: None)
    flag = draining.Flag(server.reread())
    flag.raise_up()
    server.prepare()
    assert not flag.path.exists()


def test_reload_leaves_the_flag_up_unless_it_moves_the_gateway(config, monkeypatch):
    monkeypatch.setattr(server, "migrate", lambda: None)
    master = types.SimpleNamespace(worker_age=0, WORKERS=workers.Workers())
    here = draining.Flag(server.reread())
    server.prepare()
    here.raise_up()
    server.on_reload(master)
    assert here.path.exists()

    monkeypatch.setenv("GATEWAY_BIND", "127.0.0.1:9")
    there = draining.Flag(server.reread())
    there.raise_up()
    server.on_reload(master)
    assert not there.path.exists()
