"""Processes that count at the same time, each a real one that may be killed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
START = """
import fcntl, os, sys, time, threading
from gateway.limits.stores import Away

def local(folder):
    from gateway.limits.stores.local import Local
    return Local(folder)

def shared(url):
    from gateway.limits.stores import shared
    shared.LIFE, shared.BEAT = 2000, 0.1
    store = shared.Shared(url.partition("|")[0], url.partition("|")[2])
    threading.Thread(target=store.run, args=(threading.Event(),), daemon=True).start()
    return store

store = {"local": local, "shared": shared}[sys.argv[1]](sys.argv[2])
"""
COUNT = """
name, limit, times = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
print(sum(store.hit(name, limit, 10**6).taken for _ in range(times)))
"""
# Whoever has a place on the account finds a free seat: there are as many as the account has places.
# A process that was just killed may leave its seat a moment after its place.
SIT = """
seats = [os.open(f"{sys.argv[4]}/seat-{n}", os.O_CREAT | os.O_RDWR) for n in range(3)]

def sit():
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for seat in seats:
            try:
                fcntl.flock(seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return seat
            except OSError:
                pass
    print("no seat", flush=True)

while True:
    taken = store.take(sys.argv[3], 3, 1)
    if taken.amount:
        seat = sit()
        time.sleep(0.001)
        if seat is not None:
            fcntl.flock(seat, fcntl.LOCK_UN)
        store.settle(sys.argv[3], taken)
        os.write(1, b"sat\\n")
"""


def begin(script, *args):
    """Start a process that runs one of the scripts; its output is a file."""
    command = [sys.executable, "-c", START + script, *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
