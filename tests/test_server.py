import logging
import os
import types

import gunicorn
import pytest
from gunicorn.config import Config

from gateway import draining, metric_files, reloading, server, workers
from tests.serving import write_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The path of a good configuration that the environment names."""
    path = write_config(tmp_path, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    monkeypatch.setenv(metric_files.FOLDER, str(tmp_path))
    monkeypatch.setattr(server, "_current", None)
    monkeypatch.setattr(server, "_at", None)
    monkeypatch.setattr(server, "_master", None)
    return path


@pytest.fixture
def master(config, monkeypatch):
    """Return a master that has started with the configuration; nothing it tries fails."""
    monkeypatch.setattr(reloading, "rehearse", lambda arguments: None)
    cfg = types.SimpleNamespace(bind=server.settings("x")["bind"])
    found = types.SimpleNamespace(cfg=cfg, LISTENERS=[object()], systemd=False)
    monkeypatch.setattr(server, "_master", found)
    return found


@pytest.fixture
def moves(monkeypatch):
    """The addresses that a master was told to move to."""
    found = []
    move = lambda master, binds, umask: found.append((binds, umask))  # noqa: E731
    monkeypatch.setattr(server._sockets, "move", move)
    return found


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


def test_file_that_nobody_has_foreseen_keeps_the_last_good_one(config, caplog, monkeypatch):
    def fail():
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    good = server.reread()
    monkeypatch.setattr(server.config, "load", fail)

    assert server.reread() is good
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.exc_info[0] is ZeroDivisionError
    assert record.getMessage().endswith("the last good one stays in force")

    monkeypatch.setattr(server, "_current", None)
    with pytest.raises(ZeroDivisionError):  # a start has nothing to go on with
        server.reread()


def test_file_that_no_worker_could_start_with_keeps_the_last_good_one(
    config, master, caplog, monkeypatch
):
    def refuse(arguments):
        raise reloading.Refused("the reason")

    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    monkeypatch.setattr(reloading, "rehearse", refuse)
    config.write_text(config.read_text().replace("drain = 5", "drain = 7"))

    assert server.settings("x")["graceful_timeout"] == 5
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.getMessage().endswith("force: the reason")


def test_new_address_is_moved_to_before_its_settings_are_taken(config, master, moves, monkeypatch):
    monkeypatch.setenv("GATEWAY_BIND", "unix:/new.sock")
    ops = server.current().server.ops_bind
    assert server.settings("x")["bind"] == ["unix:/new.sock", ops]
    assert moves == [(["unix:/new.sock", ops], 0o007)]
    master.cfg.bind = server.settings("x")["bind"]
    assert len(moves) == 1


def test_addresses_of_gunicorn_s_command_line_are_not_moved(config, master, moves, monkeypatch):
    master.cfg.bind = ["127.0.0.1:9"]
    monkeypatch.setenv("GATEWAY_BIND", "127.0.0.1:8")
    assert server.reread().server.bind == "127.0.0.1:8" and moves == []


def test_addresses_that_systemd_holds_stay(config, master, moves, monkeypatch):
    master.systemd = True
    before = server.current()
    assert server.reread().server == before.server  # none is new
    before = server.current()
    monkeypatch.setenv("GATEWAY_BIND", "127.0.0.1:8")
    assert server.reread() is before and moves == []


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


@pytest.mark.parametrize(("before", "now", "wanted"), [(60, 5, 60), (5, 60, 60), (None, 5, 5)])
def test_end_leaves_workers_from_before_a_reload_the_drain_that_they_go_by(before, now, wanted):
    class Master:
        cfg = drain_of(now)
        WORKERS = workers.Workers({1: types.SimpleNamespace(cfg=cfg)})

        def stop(self, graceful):
            self.waits = self.cfg.graceful_timeout

    master = Master()
    if before is not None:
        master.WORKERS[2] = types.SimpleNamespace(cfg=drain_of(before))
    server.stop(master)
    assert master.waits == wanted


def drain_of(seconds):
    found = Config()
    found.set("graceful_timeout", seconds)
    return found
