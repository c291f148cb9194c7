"""A system under test: one server process tree on a free port."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "build" / "peers"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
SECONDS = 60  # to start in


class NotStarted(Exception):
    """A system has ended or said nothing while it was to start; its last words are the message."""


class System:
    """Starts with `start()`, ends with `stop()`; a subclass says how its server is run.

    `startup` is the seconds from starting the process to its first good answer at `health`,
    `settle` how long after a load it may still be writing things down.
    """

    name = ""  # as in results
    health = "/healthz"
    path = "/v1/chat/completions"
    relays = True  # whether it asks the upstream
    settle = 1.2
    idle = 0.0  # seconds of CPU that it uses in each second of doing nothing, once measured
    rate = small_cpu = None  # small chats a second and the CPU of one, once they are measured

    def __init__(self, folder, upstream_port=None):
        self.folder = pathlib.Path(folder) / self.name
        self.upstream_port = upstream_port
        self.port, self.process, self.startup = free_port(), None, None
        self.headers = {"Authorization": "Bearer sk-bench"}

    def version(self):
        """Return its version, None if it is not installed."""
        raise NotImplementedError

    def prepare(self):
        """Write the files it needs, once."""

    def command(self):
        """Return what to run."""
        raise NotImplementedError

    def environ(self):
        """Return what its environment has beside PATH."""
        return {}

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.folder / "log"

    def start(self):
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.prepare()
        began = time.perf_counter()
        self.process = self.spawn(self.command())
        self.wait(began + SECONDS)
        self.startup = time.perf_counter() - began
        return self

    def spawn(self, command):
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.whole_environ(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, preexec_fn=self.become,
            )  # fmt: skip

    def whole_environ(self):
        """Return an environment without the settings and proxies of whoever runs this."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "TMPDIR": str(self.folder), **self.environ()}

    def become(self):
        """In the new process: end when the benchmark ends, however it does."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)

    def wait(self, deadline):
        while not self.answers():
            if self.process.poll() is not None or time.perf_counter() > deadline:
                self.stop()
                raise NotStarted(f"{self.name} did not start:\n{self.words()}")
            time.sleep(0.005)

    def answers(self):
        try:
            ask(self.port, self.health)
        except (OSError, urllib.error.URLError):
            return False
        return True

    def words(self):
        """Return the end of what it has logged."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self):
        """End it and everything it has started."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def request(self, body):
        """Return a whole HTTP request with a JSON body, as bytes."""
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "User-Agent": "bench",
            "Accept": "application/json",
            "Content-Type": "application/json",
            **self.headers,
            "Content-Length": len(body),
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{key}: {headers[key]}" for key in headers)]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(port, path, seconds=5):
    """GET a path of a local server. Raises OSError unless it answers well."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
        return answer.read()
