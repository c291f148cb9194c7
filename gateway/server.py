"""gunicorn: its settings and its hooks.

gunicorn's master imports this module after gevent has patched and before it forks, so nothing
here holds a connection or a thread at import.
"""

import contextlib
import gc
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial

from gunicorn import arbiter

from gateway import (
    banner,
    binding,
    config,
    draining,
    local_model,
    logs,
    metric_files,
    reloading,
    workers,
)

log = logging.getLogger("gateway")

KEEPALIVE = 75  # above nginx's 60 s for idle connections, or it loses a race now and then
GARBAGE = 10_000  # new objects between two looks for cycles
SPARE = 200  # connections above the calls in flight, so that a refusal can be said

# What the workers are to use: the master's last good configuration, which they inherit.
_current = None
_model = None
_metrics = None  # the folder of metrics, where it was made here and not given
_at = None  # the file that says that this master runs
_master = None  # gunicorn's, once it has started
_sockets = binding.Sockets()


def current():
    """Return the settings in force, read now if no gunicorn master has read them."""
    return _current or config.load()


def settings(app):
    """Return gunicorn's settings for the WSGI application named; read anew at each SIGHUP."""
    global _metrics
    found = reread()
    _metrics = metric_files.prepare(os.environ) or _metrics
    return {
        "wsgi_app": app,
        "bind": binds(found.server),
        "workers": found.workers or os.cpu_count() or 1,
        "worker_class": "gateway.gunicorn_worker.GatewayWorker",
        "worker_connections": found.server.max_in_flight + SPARE,
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
        "preload_app": False,
        "timeout": 30,
        "graceful_timeout": int(found.server.drain),
        "keepalive": KEEPALIVE,
        "umask": umask(found.server),
        # The C parser takes bare line feeds and folded headers, which smuggle requests.
        "http_parser": "python",
        # No header says who the client is: a SCRIPT_NAME would move the path away from its guards.
        "forwarder_headers": "",
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "header_map": "refuse",
        "control_socket_disable": True,
        "logconfig_dict": logs.configuration(),
        "on_starting": on_starting,
        "on_reload": on_reload,
        "pre_fork": pre_fork,
        "post_worker_init": post_worker_init,
        "worker_exit": worker_exit,
        "child_exit": child_exit,
        "on_exit": on_exit,
    }


def binds(server):
    return [bind for bind in (server.bind, server.ops_bind) if bind]


def umask(server):
    """Return a umask that lets the group in where a proxy has to reach a socket's file."""
    return 0o007 if server.bind.startswith("unix:") else 0o077


def reread():
    """Return fresh settings; what no worker could start with leaves the last good ones in force."""
    global _current
    try:
        found = config.load()
        if _master is not None:
            reloading.prepare(_current, found, lambda: move(found.server))
        _current = found
    except config.ConfigError as exc:
        if _current is None:
            sys.exit(str(exc))
        log.error("The configuration has mistakes, the last good one stays in force: %s", exc)
    except reloading.Refused as exc:
        log.error("The configuration cannot be used, the last good one stays in force: %s", exc)
    except Exception as exc:
        if _current is None:
            raise
        # Nobody has foreseen it, but gunicorn would end for it, and every stream with it.
        said = "The configuration cannot be read, the last good one stays in force"
        log.error(said, exc_info=exc)
    return _current


def move(server):
    """Have the master listen where new settings say. Raises OSError and Refused."""
    before, after = binds(_current.server), binds(server)
    # Addresses from gunicorn's own command line are not ours to change.
    if before == after or before != _master.cfg.bind or not _master.LISTENERS:
        return
    if _master.systemd:
        raise reloading.Refused("systemd listens here: for another address, restart its socket.")
    _sockets.move(_master, after, umask(server))


class SteadyTime:
    """What gunicorn's master uses of the module time, by a clock that nobody puts forward."""

    sleep = staticmethod(time.sleep)
    time = monotonic = staticmethod(time.monotonic)


def on_starting(server):
    """Bring the database up to date, and the local model up where it is asked for."""
    global _master
    _master = server
    server.WORKERS = workers.Workers()
    # gunicorn counts by the wall clock how long it waits for workers that end.
    arbiter.time = SteadyTime
    server.stop = partial(stop, server)
    arbiter.sock = _sockets
    try:
        prepare()
    except KeyboardInterrupt:
        sys.exit(130)


def stop(server, graceful=True):
    """Have gunicorn end its workers, and kill none before the time that it goes by is over.

    Those from before a reload go by the drain that they were started with.
    """
    drains = [worker.cfg.graceful_timeout for worker in server.WORKERS.values()]
    server.cfg.set("graceful_timeout", max(drains, default=server.cfg.graceful_timeout))
    type(server).stop(server, graceful)


def prepare():
    global _current, _model
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    metric_files.keep(os.environ[metric_files.FOLDER])
    settle()
    migrate()
    # Those of the ones before it, and its own, which its imports have made: it counts nothing.
    metric_files.clear(os.environ[metric_files.FOLDER])
    if _current.local_model is not None:
        try:
            _model = local_model.start(_current.local_model.path)
        except local_model.LocalModelError as exc:
            sys.exit(str(exc))
        os.environ["GATEWAY_LOCAL_CHAT_URL"] = _model.chat_url
        os.environ["GATEWAY_LOCAL_EMBED_URL"] = _model.embed_url
        _current = _current.with_local_model(_model.chat_url, _model.embed_url)


def on_reload(server):
    """Let the master go on at once: it would wait for the last old worker's last stream."""
    server.WORKERS.replace(server.worker_age)
    _sockets.stay()
    settle()


def settle():
    """Say that a master runs at this address, new or moved to by a reload, and is not drained."""
    global _at
    found = draining.Master(_current)
    if found.path != _at:
        draining.Flag(_current).take_down()
        if found.stay():
            _at = found.path


def migrate():
    """Run the migrations in a process of their own: the master must not hold a connection."""
    with subprocess.Popen([sys.executable, "-m", "gateway.cli", "db", "upgrade"]) as migrating:
        read_code()
    if migrating.returncode:
        sys.exit(migrating.returncode)


def read_code():
    """Import what the workers need, but build none of it: they are forked with it in memory."""
    from gateway import endpoints, services  # noqa: F401

    gc.collect()
    gc.freeze()  # a look for cycles would copy the pages that all processes share


def pre_fork(server, worker):
    """Give the worker a folder for its metrics: it could not start without one."""
    metric_files.keep(os.environ[metric_files.FOLDER])


def post_worker_init(worker):
    """Start what runs in the background of a worker, now that it is patched and forked."""
    # Ctrl-C reaches the whole group; the master tells its workers what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.wsgi.extensions["gateway"].start()
    heed(worker)
    # What is there now stays: the collector need not look at it again with every few calls.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)
    if worker.age == 1:
        banner.show(_current, os.environ)


def heed(worker):
    """Let a worker end that was told to before it had handlers of its own.

    Until then signals went into its copy of the master's queue, where nobody looks.
    """
    while not _master.SIG_QUEUE.empty():
        if _master.SIG_QUEUE.get_nowait() in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            worker.alive = False


def worker_exit(server, worker):
    """Let a worker that ends write down what it still holds."""
    app = getattr(worker, "wsgi", None)
    if app is not None and app.extensions:
        app.extensions["gateway"].close()


def child_exit(server, worker):
    """Take a dead worker's gauges out of the metrics, and keep what it has counted."""
    try:
        metric_files.bury(os.environ[metric_files.FOLDER], worker.pid)
    except OSError as exc:  # gunicorn would end for it
        log.error("metrics of a dead process are lost: %s", exc)


def on_exit(server):
    if _model is not None:
        local_model.stop(_model.process)
    metric_files.clear(os.environ[metric_files.FOLDER])
    if _metrics:
        with contextlib.suppress(OSError):
            os.rmdir(_metrics)
