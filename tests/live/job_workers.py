"""Processes that run jobs, with leases short enough for a test, and a line to cut."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from gateway import config, database
from gateway.jobs.store import Jobs
from gateway.key import fixed_key
from tests.serving import KEY, ROOT

KEY_ID = fixed_key(KEY).id
# Leases and sweeps are constants; a test that kills workers cannot wait for them.
LAUNCH = """
from gevent import monkey
monkey.patch_all()
import sys
from gateway.jobs import store, sweep
store.LEASE, store.RENEW = {lease}, {lease} / 3
sweep.EVERY = {lease} / 8, {lease} / 4
if {worker}:
    from gateway.cli import main
    main(["worker", *sys.argv[1:]])
else:
    from gunicorn.app.wsgiapp import run
    sys.argv = ["gunicorn"]
    run()
"""


def launch(worker, lease):
    """Return the command of a job worker, or of gunicorn, with leases of some seconds."""
    return [sys.executable, "-c", LAUNCH.format(worker=worker, lease=float(lease))]


class JobWorker:
    """`gateway worker` in a process of its own."""

    def __init__(self, path, *arguments, lease=30, name="worker"):
        self.log_path = path.parent / f"{name}.log"
        self.command = [*launch(True, lease), *arguments]
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
            "GATEWAY_CONFIG": str(path),
            "GATEWAY_API_KEYS": KEY,
            "PYTHONPATH": str(ROOT),
        }

    def start(self):
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.environ, stdout=self.log, stderr=self.log
        )

    def kill(self):
        """Kill it as the system does that is out of memory."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        self.log = self.log_path.open("ab")
        self.start()
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def said(self):
        return self.log_path.read_text()


class Queue:
    """The queue as a test sees it: adds jobs, and waits for them."""

    def __init__(self, path, url=None):
        settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
        url = url or settings.server.database_url
        database.upgrade(url)
        self.database = database.Database(url)
        self.jobs = Jobs(self.database, config.Jobs(per_key=10_000))
        self.names = {}  # what a job says, to its id

    def add(self, model="gpt-test", endpoint="chat", says="Hello", **payload):
        said = [{"role": "user", "content": says}] if endpoint == "chat" else says
        payload = {"model": model, ("messages" if endpoint == "chat" else "input"): said, **payload}
        request_id = f"req_{len(self.names):032x}"
        row = self.jobs.add(KEY_ID, endpoint, payload, request_id)
        self.names[says] = row.id
        return row.id

    def get(self, id):
        return self.jobs.get(KEY_ID, id)

    def wait(self, id, *statuses, seconds=15):
        """Return the row of a job that has one of these statuses."""
        deadline = time.monotonic() + seconds
        while (row := self.get(id)).status not in statuses:
            assert time.monotonic() < deadline, (row.status, row.error)
            time.sleep(0.02)
        return row

    def close(self):
        self.database.close()


class Cuttable:
    """A TCP line to a server, which can be cut and mended; `delay` is its seconds each way."""

    def __init__(self, host, port, delay=0):
        self.target, self.delay = (host, port), delay
        self.open, self.listener, self.port = set(), None, 0
        self.mend()

    def mend(self):
        """Listen, on the same port as before."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        """Refuse every connection, and end those that are open."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    close = cut

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client):
        with client, socket.create_connection(self.target) as server:
            pair = {client: server, server: client}
            self.open |= set(pair)
            with contextlib.suppress(OSError):
                while self.carry(pair):
                    pass
            self.open -= set(pair)

    def carry(self, pair):
        """Carry what has come; tell whether both ends are still there."""
        for sock in select.select(list(pair), [], [])[0]:
            data = sock.recv(65536)
            if not data:
                return False
            time.sleep(self.delay)
            pair[sock].sendall(data)
        return True
