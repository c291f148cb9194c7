"""`gateway worker`: run jobs and nothing else, any number of processes, on any machine."""

import contextlib
import logging.config
import os
import signal
from dataclasses import replace

import click

from gateway.cli import fail, load_settings, open_database

CONCURRENCY = 32  # where [jobs] says 0, which is about the web workers


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 100_000), help="Jobs run at once.")
@click.option("--metrics", metavar="HOST:PORT", help="Answer Prometheus at this address.")
def worker(concurrency, metrics):
    """Run jobs and nothing else.

    SIGTERM and SIGINT let the jobs end that run, for `drain` seconds at most; a second one stops
    them at once. The configuration is read once, at the start.
    """
    from gevent import monkey

    monkey.patch_all()  # before anything is imported that waits
    settings = load_settings()
    if settings.local_model is not None and not settings.upstreams:
        fail("There is no configuration; the model that is served without one is `serve`'s own.")
    with open_database():
        pass  # its tables are there now
    number = concurrency or settings.jobs.concurrency or CONCURRENCY
    tell(metrics)
    run(replace(settings, jobs=replace(settings.jobs, concurrency=number)))


def tell(metrics):
    """Let Prometheus ask this process what it has counted."""
    if metrics is None:
        return
    from prometheus_client import start_http_server

    from gateway.config import addresses
    from gateway.config.mistakes import Wrong

    try:
        host, _, port = addresses.bind(metrics, None).rpartition(":")
    except Wrong as exc:
        fail(f"--metrics {metrics}: {exc}.", 2)
    if not port.isdecimal():
        fail(f"--metrics {metrics}: Prometheus asks at host:port.", 2)
    start_http_server(int(port), host.strip("[]"))


def run(settings):
    """Run jobs until a signal says that it is time to end, and for the drain after it."""
    from gateway import logs, services

    logging.config.dictConfig(logs.configuration())
    signals = Signals()
    found = services.Services(settings)
    found.start()
    log = logging.getLogger("gateway")
    log.info("job worker %s runs up to %d jobs", found.worker.id, settings.jobs.concurrency)
    signals.first.wait()
    log.info("job worker %s takes no more jobs", found.worker.id)
    signals.drain(found.worker, settings.server.drain)
    found.close()
    forget_metrics()


class Signals:
    """Listens for the signals that end the process; SIGHUP is none of them."""

    def __init__(self):
        import gevent
        from gevent import event

        self.gevent, self.first, self.second = gevent, event.Event(), event.Event()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self.heard)

    def heard(self):
        (self.second if self.first.is_set() else self.first).set()

    def drain(self, worker, seconds):
        """Let the worker's jobs end, unless a second signal comes."""
        drained = self.gevent.spawn(worker.drain, seconds)
        self.gevent.wait([drained, self.second], count=1)


def forget_metrics():
    """Take this process's gauges out of metrics that it shares with others."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        with contextlib.suppress(OSError):
            multiprocess.mark_process_dead(os.getpid())
