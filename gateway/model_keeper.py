"""The program that keeps the local model alive (`keep`), and the model's own (`serve`).

Nothing imports this file: local_model.py runs it, and it runs itself. Only the standard library is
imported before the model is, because both must load fast and free of gevent.
"""

import collections
import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

START_LIMIT = 120  # seconds from the start to the first answer of both servers
SLOTS = 4  # chats at once; each has an equal share of the context
CONTEXT = 8192  # tokens
ANSWER = 1024  # tokens of an answer whose call sets no limit; unlimited, it ran for over a minute
EMBED_CONTEXT = 2048  # tokens of the longest input; larger ones need a GB of memory
LONGEST_PAUSE = 30  # seconds between the model's end and its next start; the first pause is 1 s
STEADY = 60  # seconds of life after which the pause is short again
PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """The model did not start; the message tells the operator why."""


def die_with(parent):
    """Have the system kill this process when the process `parent` ends.

    Where there is no prctl, loops that call `orphaned` do the same half a second later.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned(parent):
        os._exit(0)


def orphaned(parent):
    """Tell whether the process `parent` is no longer this one's parent."""
    return os.getppid() != parent


def keep(parent, model, template):
    """Run the model and start it again whenever it ends; report the first start on stdout."""
    parent = int(parent)
    die_with(parent)
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: sys.exit(0))
    held = [hold_port(), hold_port()]
    ports = [sock.getsockname()[1] for sock in held]
    command = [sys.executable, "-P", os.path.abspath(__file__), "serve", str(os.getpid())]
    model = Model([*command, model, template, *map(str, ports)])
    try:
        model.open_log(os.environ.get("GATEWAY_LOCAL_MODEL_LOG"))
        model.start()
        model.wait_until_ready(ports, parent)
        chat_url, embed_url = (f"http://127.0.0.1:{port}/v1" for port in ports)
        _report(chat_url=chat_url, embed_url=embed_url)
        _keep_alive(model, parent)
    except StartError as exc:
        _report(error=str(exc))
    finally:
        model.end()


def hold_port():
    """Return a socket bound to a free loopback port, so that it is still free at a restart.

    It doesn't listen, so every connection goes to the server that shares the port with it.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def next_pause(pause, lived):
    """Return how long to wait before the next start, in seconds, given the last wait and life."""
    if lived >= STEADY:
        return 1
    return min(max(pause * 2, 1), LONGEST_PAUSE)


def _keep_alive(model, parent):
    pause = 0
    while True:
        cause, lived = model.wait_until_ended(parent)
        pause = next_pause(pause, lived)
        _tell(f"The local model ended ({cause}) and starts again in {pause} s.")
        time.sleep(pause)
        if orphaned(parent):
            return
        model.start()


def _report(**words):
    # Whoever started the keeper may be gone already; then nobody needs the report.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(words).encode() + b"\n")


def _tell(sentence):
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


class Model:
    """The model's process as its keeper sees it, and the last lines that it wrote."""

    def __init__(self, command):
        self.command = command
        self.popen = None
        self.tail = collections.deque(maxlen=10)
        self.reader = None
        self.log = None

    def open_log(self, path):
        """Write all that the model says to the file `path`; with no path nothing is written."""
        if path:
            try:
                self.log = open(path, "ab", buffering=0)
            except OSError as exc:
                message = f"GATEWAY_LOCAL_MODEL_LOG: {path} can't be written: {exc.strerror}."
                raise StartError(message) from exc

    def start(self):
        """Start the process and a thread that takes in what it writes."""
        self.tail.clear()
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.reader = threading.Thread(target=self._read, args=[self.popen.stdout], daemon=True)
        self.reader.start()

    def _read(self, pipe):
        with pipe:
            for line in iter(lambda: pipe.readline(4096), b""):
                self.tail.append(line.decode(errors="replace").rstrip())
                with contextlib.suppress(OSError):
                    if self.log:
                        self.log.write(line)

    def end(self):
        """Kill the process; there is nothing in it to save."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def wait_until_ready(self, ports, parent):
        """Return when all ports answer; raise StartError if the process ends or time does."""
        while not all(healthy(port) for port in ports):
            if self.popen.poll() is not None:
                raise StartError(self._last_words(f"it ended ({self.cause()})"))
            if time.monotonic() - self.started > START_LIMIT:
                raise StartError(self._last_words(f"no answer within {START_LIMIT} s"))
            if orphaned(parent):
                sys.exit(0)
            time.sleep(0.05)

    def wait_until_ended(self, parent):
        """Return why the process ended and how many seconds it lived."""
        while self.popen.poll() is None:
            if orphaned(parent):
                sys.exit(0)
            time.sleep(0.5)
        return self.cause(), time.monotonic() - self.started

    def cause(self):
        """Say how the process ended: `SIGKILL` or `exit code 1`."""
        code = self.popen.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _last_words(self, what):
        self.reader.join(timeout=1)
        return "\n  ".join([f"The local model did not start: {what}.", *self.tail])


def healthy(port):
    """Tell whether the server on a loopback port has loaded its model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(parent, model, template, chat_port, embed_port):
    """Load the model twice, for chat and for embeddings, and serve until the parent ends."""
    parent = int(parent)
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import xllamacpp

    try:
        running = [
            xllamacpp.Server(chat_settings(xllamacpp, model, template, int(chat_port))),
            xllamacpp.Server(embed_settings(xllamacpp, model, int(embed_port))),
        ]
    except RuntimeError as exc:
        _tell(exc)
        # Ordinary shutdown can hang in the threads of a server that is half made.
        os._exit(1)
    while running and not orphaned(parent):
        time.sleep(0.5)
    os._exit(0)


def chat_settings(xllamacpp, model, template, port):
    """Return xllamacpp's settings for the chat server; no template means the file's own.

    The template inside the bundled file adds a system prompt that spoils its answers.
    """
    settings = _settings(xllamacpp, model, port)
    settings.n_ctx = CONTEXT
    settings.n_parallel = SLOTS
    settings.n_predict = ANSWER
    settings.cache_ram_mib = 128
    if template:
        settings.chat_template = template
    return settings


def embed_settings(xllamacpp, model, port):
    """Return xllamacpp's settings for the embedding server, one input at a time."""
    settings = _settings(xllamacpp, model, port)
    settings.embedding = True
    settings.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    settings.n_ctx = settings.n_batch = settings.n_ubatch = EMBED_CONTEXT
    return settings


def _settings(xllamacpp, model, port):
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.reuse_port = True  # The keeper holds the same port.
    settings.verbosity = 3 if os.environ.get("GATEWAY_LOCAL_MODEL_LOG") else 1
    settings.ui = False
    settings.endpoint_slots = False  # It would show every prompt to any local user.
    settings.fit_params = False  # Nothing here is to be fitted to a GPU.
    return settings


if __name__ == "__main__":
    {"keep": keep, "serve": serve}[sys.argv[1]](*sys.argv[2:])
