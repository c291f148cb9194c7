"""What operators and machines do while calls go on: reloads, kills, keys, reports, probes."""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request

from bench.soak.client import Call

SHORT = 60  # seconds; a shorter run has each operation once
BUSY = 0.6  # the share of a run in which processes are replaced; then memory can be looked at
EVERY = {"reload": (120, 120), "kill web": (75, 90), "kill job": (50, 150)}  # first, then every
ONCE = {"reload": 0.2, "kill job": 0.35, "kill web": 0.45, "keys": 0.1, "usage": 0.6}
KEYS, USAGE = 20, 30  # seconds between two
FELT = 5  # seconds in which a revoked key has to be refused; it is about one


def plan(seconds):
    """Return [(second, operation)] in order."""
    if seconds < SHORT:
        return sorted((share * seconds, name) for name, share in ONCE.items())
    scale, found = min(seconds / 600, 1), []
    for name, (first, every) in EVERY.items():
        at = first * scale
        while at <= seconds * BUSY:
            found.append((at, name))
            at += every * scale
    for name, every in (("keys", KEYS), ("usage", USAGE)):
        found += [(at, name) for at in range(every // 2, int(seconds), every)]
    return sorted(found)


class Aside:
    """Does what the plan says; `done` has {"at", "what", …} of each, at monotonic times."""

    def __init__(self, site, seconds):
        self.site, self.steps = site, plan(seconds)
        self.done, self.faults = [], []
        self.longer = []  # threads of steps that take seconds
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.began = time.monotonic()
        self.thread.start()

    def run(self):
        for at, what in self.steps:
            time.sleep(max(self.began + at - time.monotonic(), 0))
            try:
                self.do(what)
            except Exception as exc:
                self.faults.append(f"{what}: {type(exc).__name__}: {exc}"[:500])

    def do(self, what):
        if what in ("keys", "usage"):  # these take seconds, and hold up nothing
            thread = threading.Thread(target=self.safely, args=(getattr(self, what),), daemon=True)
            self.longer.append(thread)
            thread.start()
        else:
            getattr(self, what.replace(" ", "_"))()

    def wait(self):
        """Wait until all has been done."""
        self.thread.join()
        for thread in self.longer:
            thread.join()

    def safely(self, function):
        try:
            function()
        except Exception as exc:
            self.faults.append(f"{function.__name__}: {type(exc).__name__}: {exc}"[:500])

    def note(self, what, **more):
        self.done.append({"at": time.monotonic(), "what": what, **more})

    @property
    def kills(self):
        return [step["at"] for step in self.done if step["what"].startswith("kill")]

    def reload(self):
        self.note("reload")
        self.site.web.reload()

    def kill_web(self):
        pid = random.choice(self.site.web.workers())
        self.note("kill web", pid=pid)
        os.kill(pid, signal.SIGKILL)

    def kill_job(self):
        worker = self.site.worker
        self.note("kill job", pid=worker.pid)
        worker.kill()
        worker.start()

    def usage(self):
        rows = json.loads(self.site.web.said("-m", "gateway.cli", "usage", "--json"))
        if not rows:
            raise ValueError("gateway usage shows nothing")
        self.note("usage", rows=len(rows))

    def keys(self):
        """Make a key, use it, revoke it, and wait until it is refused."""
        secret = self.site.web.said("-m", "gateway.cli", "keys", "create", "comes and goes").strip()
        self.note("key made")
        self.expect(secret, "200", 0)
        self.site.web.said("-m", "gateway.cli", "keys", "revoke", f"key_{secret[3:15]}")
        revoked = time.monotonic()
        self.expect(secret, "401 invalid_api_key", FELT)
        self.note("key revoked", felt=time.monotonic() - revoked)

    def expect(self, secret, wanted, seconds):
        deadline = time.monotonic() + seconds
        while (said := self.models(secret)) != wanted:
            if time.monotonic() > deadline:
                raise ValueError(f"a key was answered {said} instead of {wanted}")
            time.sleep(0.1)

    def models(self, secret):
        """Ask with a key; once more where a kill has broken the connection."""
        for _ in range(3):
            call = Call(-1, None)
            try:
                return self.site.client.ask(call, "GET", "/v1/models", secret=secret).said
            except Exception:
                time.sleep(0.2)
        return "nothing"


class Probes:
    """Asks a path of the ops listener every second; `found` has (when, seconds, status)."""

    def __init__(self, site, path):
        self.url, self.path = f"http://127.0.0.1:{site.web.ops_port}{path}", path
        self.found, self.text = [], ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(1):
            self.ask()

    def ask(self):
        began = time.monotonic()
        try:
            with urllib.request.urlopen(self.url, timeout=10) as answer:
                self.text, status = answer.read().decode(), answer.status
        except urllib.error.HTTPError as exc:
            status = exc.code
        except OSError as exc:
            status = type(exc).__name__
        self.found.append((began, time.monotonic() - began, status))

    def samples(self):
        """Return the samples of /metrics by their whole name, labels included."""
        rows = [line.rpartition(" ") for line in self.text.splitlines() if line[:1] != "#"]
        return {name: float(value) for name, _, value in rows}
