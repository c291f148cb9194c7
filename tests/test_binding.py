import contextlib
import os
import socket
import stat
import threading
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from gateway import binding
from tests.serving import free_port


def local():
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def sockets():
    return binding.Sockets()


@pytest.fixture
def listen(sockets):
    """Return a master that listens at these addresses, opened as at a start."""
    with contextlib.ExitStack() as stack:

        def make(*binds):
            conf = Config()
            conf.set("bind", list(binds))
            listeners = sockets.create_sockets(conf, None)
            master = SimpleNamespace(cfg=conf, log=None, LISTENERS=listeners)
            stack.callback(lambda: [listener.close() for listener in master.LISTENERS])
            return master

        yield make


def reload(sockets, master, *binds):
    """Do what gunicorn does at a reload that moves it."""
    for listener in master.LISTENERS:
        listener.close()
    master.cfg.set("bind", list(binds))
    master.LISTENERS = sockets.create_sockets(master.cfg, None)


def connects(bind):
    host, _, port = bind.rpartition(":")
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 1).close()
        return True
    return False


def test_address_that_stays_is_kept_open_while_the_other_moves(sockets, listen):
    stays, goes, comes = local(), local(), local()
    master = listen(stays, goes)
    with socket.fromfd(master.LISTENERS[0].fileno(), socket.AF_INET, socket.SOCK_STREAM):
        sockets.move(master, [stays, comes], 0o077)  # an old worker has it open, too
        reload(sockets, master, stays, comes)
        assert (connects(stays), connects(goes), connects(comes)) == (True, False, True)
    ports = [str(listener.getsockname()[1]) for listener in master.LISTENERS]
    assert ports == [bind.rpartition(":")[2] for bind in (stays, comes)]


def test_unix_socket_stays_while_the_other_moves(sockets, listen, tmp_path):
    path, goes, comes = tmp_path / "api.sock", local(), local()
    master = listen(f"unix:{path}", goes)
    before = path.stat().st_ino
    sockets.move(master, [f"unix:{path}", comes], 0o077)
    reload(sockets, master, f"unix:{path}", comes)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert (path.stat().st_ino, connects(comes)) == (before, True)


def test_ipv6_address_that_was_handed_on_stays_while_the_other_moves(sockets, listen):
    stays, goes, comes = f"[::1]:{free_port()}", local(), local()
    master = listen(stays, goes)
    master.LISTENERS[0].cfg_addr = master.LISTENERS[0].sock.getsockname()
    sockets.move(master, [stays, comes], 0o077)
    reload(sockets, master, stays, comes)
    assert connects(stays.replace("[::1]", "::1")) and connects(comes) and not connects(goes)


def test_addresses_may_change_places_and_move_back(sockets, listen):
    one, other = local(), local()
    master = listen(one, other)
    for binds in ([other, one], [one, other]):
        sockets.move(master, binds, 0o077)
        reload(sockets, master, *binds)
        assert connects(one) and connects(other)


def test_address_that_is_taken_changes_nothing(sockets, listen, monkeypatch, tmp_path):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    master, new = listen(local()), f"unix:{tmp_path}/new.sock"
    before = list(master.LISTENERS)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError) as caught:
            sockets.move(master, [new, taken], 0o077)
    assert (caught.value.filename, caught.value.strerror) == (taken, "Address already in use")
    assert list(tmp_path.iterdir()) == []
    assert (sockets.moved, master.LISTENERS) == (None, before)
    assert connects(master.cfg.bind[0])


@pytest.mark.parametrize(
    "bind", ["192.0.2.1:9", "[2001:db8::1]:9", "no such host:9", "unix:/nowhere/at/all"]
)
def test_address_that_nobody_could_have_is_named(sockets, listen, bind):
    with pytest.raises(OSError) as caught:
        sockets.move(listen(local()), [bind], 0o077)
    assert caught.value.filename == bind and caught.value.strerror


def test_move_that_gunicorn_s_command_line_forbids_leaves_nothing_open(sockets, listen):
    here, there = local(), local()
    master = listen(here)
    sockets.move(master, [there], 0o077)
    assert connects(there)
    sockets.stay()
    assert (connects(here), connects(there), sockets.moved) == (True, False, None)
    sockets.stay()


def test_file_of_a_socket_has_the_mode_that_is_asked_for(sockets, listen, tmp_path):
    path, before = tmp_path / "api.sock", os.umask(0o022)
    os.umask(before)
    master = listen(local())
    sockets.move(master, [f"unix:{path}"], 0o007)
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    assert os.umask(before) == before
    sockets.stay()


def test_file_that_a_dead_gateway_has_left_is_replaced(sockets, listen, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    sockets.move(listen(local()), [f"unix:{path}"], 0o077)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    sockets.stay()


def test_socket_that_somebody_listens_at_is_not_taken_away(sockets, listen, tmp_path, monkeypatch):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            sockets.move(listen(local()), [f"unix:{path}"], 0o077)
        client.connect(str(path))


def test_file_that_is_no_socket_stays(sockets, listen, tmp_path, monkeypatch):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    path = tmp_path / "mine"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        sockets.move(listen(local()), [f"unix:{path}"], 0o077)
    assert path.read_text() == "precious"


def test_end_takes_the_files_of_its_sockets_away(sockets, listen, tmp_path):
    path, moved = tmp_path / "api.sock", tmp_path / "moved.sock"
    master = listen(f"unix:{path}", local())
    binds = [f"unix:{path}", f"unix:{moved}"]
    sockets.move(master, binds, 0o077)
    reload(sockets, master, *binds)
    assert path.is_socket() and moved.is_socket()
    sockets.close_sockets(master.LISTENERS)
    assert list(tmp_path.iterdir()) == []


def test_end_closes_all_listeners_although_the_file_of_one_is_gone(sockets, listen, tmp_path):
    path, other = tmp_path / "api.sock", local()
    master = listen(f"unix:{path}", other)
    path.unlink()
    sockets.close_sockets(master.LISTENERS)
    assert not connects(other)
    assert [listener.sock for listener in master.LISTENERS] == [None, None]


def test_end_leaves_a_file_that_somebody_else_has_put_there(sockets, listen, tmp_path):
    path = tmp_path / "api.sock"
    master = listen(f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen()
        sockets.close_sockets(master.LISTENERS)
        client.connect(str(path))


def test_end_leaves_files_that_a_next_master_still_listens_at(sockets, listen, tmp_path):
    path = tmp_path / "api.sock"
    sockets.close_sockets(listen(f"unix:{path}").LISTENERS, unlink=False)
    assert path.is_socket()


def test_end_of_an_abstract_socket_fails_for_nothing(sockets, listen):
    sockets.close_sockets(listen(f"unix:\0gateway-test-{os.getpid()}").LISTENERS)


# gunicorn leaves an object of what it was handed to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_end_takes_the_file_of_a_socket_that_was_handed_on(sockets, tmp_path):
    path, conf = tmp_path / "api.sock", Config()
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(str(path))
        before.listen()
        listeners = sockets.create_sockets(conf, None, [os.dup(before.fileno())])
    sockets.close_sockets(listeners)
    assert not path.exists()


def test_start_refuses_a_unix_socket_with_a_listener_and_touches_nothing(
    sockets, listen, tmp_path, monkeypatch
):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    stale, path = tmp_path / "stale.sock", tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    first = listen(f"unix:{path}")
    before = (stale.stat().st_ino, path.stat().st_ino)
    conf = Config()
    conf.set("bind", [f"unix:{stale}", f"unix:{path}"])
    with pytest.raises(SystemExit) as caught:
        binding.Sockets().create_sockets(conf, None)
    said = f"The gateway cannot listen on unix:{path}: Address already in use."
    assert caught.value.code == said
    assert (stale.stat().st_ino, path.stat().st_ino) == before
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    first.LISTENERS[0].accept()[0].close()


def test_start_waits_for_a_listener_that_is_about_to_go(sockets, listen, tmp_path):
    path = tmp_path / "api.sock"
    dying = listen(f"unix:{path}").LISTENERS
    threading.Timer(0.2, lambda: dying[0].close()).start()
    conf = Config()
    conf.set("bind", [f"unix:{path}"])
    (listener,) = binding.Sockets().create_sockets(conf, None)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_start_replaces_the_file_of_a_dead_gateway(listen, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_start_refuses_a_file_that_is_no_socket(listen, tmp_path, monkeypatch):
    monkeypatch.setattr(binding, "PATIENCE", 0)
    path = tmp_path / "mine"
    path.write_text("precious")
    with pytest.raises(SystemExit, match="in use"):
        listen(f"unix:{path}")
    assert path.read_text() == "precious"


def test_socket_with_a_full_queue_has_a_listener_too(tmp_path):
    path = str(tmp_path / "api.sock")
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as stack:
        busy.bind(path)
        busy.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
        with pytest.raises(OSError, match="in use"):
            binding.unheard(path)
