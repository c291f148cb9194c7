"""Gateways whose keys have limits: one or two machines, their keys, and many calls at once."""

import concurrent.futures
import http.client
import json
import sqlite3
import time
from contextlib import closing

from gateway.database import Database
from gateway.keys import KeyStore
from tests.live.site import PATHS, Answer

MORE = """
[[model]]
id = "priced"
upstreams = [{ name = "mock", model = "upstream-model" }]
price = { input = 1, output = 4 }

[retry]
attempts = 0
"""
TIMEOUTS = "connect = 10\nfirst_token = 30\ntotal = 30\nidle = 30\nstream_total = 60\nbody = 20\n"


def place(gateway):
    return gateway.folder / "gateway.db"


def new_key(*gateways, **limits):
    """Make a key that each machine's database knows; return (Key, secret)."""
    database = Database(f"sqlite:///{place(gateways[0])}")
    try:
        found = KeyStore(database).create("limited", **limits)
    finally:
        database.close()
    for other in gateways[1:]:
        with closing(sqlite3.connect(place(other), timeout=10)) as connection, connection:
            connection.execute("attach ? as first", [str(place(gateways[0]))])
            connection.execute(
                "insert into main.keys select * from first.keys where id = ?",
                [found[0].id.removeprefix("key_")],
            )
    return found


def body(model="priced", stream=False, **fields):
    said = {"messages": [{"role": "user", "content": "one two"}]}
    return json.dumps({"model": model, "stream": stream, **said, **fields}).encode()


def ask(gateway, secret, endpoint="chat", patience=60, **fields):
    """Make one call over a connection of its own and return its Answer. Raises TimeoutError."""
    began = time.monotonic()
    with closing(
        http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=patience)
    ) as connection:
        head = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        connection.request("POST", PATHS[endpoint], body(**fields), head)
        response = connection.getresponse()
        data = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, data, time.monotonic() - began)


def flood(gateways, secret, count, at_once=24, **fields):
    """Make many calls, in turn to each gateway; return their Answers."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        calls = [
            pool.submit(ask, gateways[n % len(gateways)], secret, **fields) for n in range(count)
        ]
        return [call.result() for call in calls]


def early_in_a_minute(seconds=35):
    """Wait until so much of a minute of the clock is left: at its edge more may pass."""
    while (left := 60 - time.time() % 60) < seconds:
        time.sleep(left + 0.1)


def spent(gateway, key, rows):
    """Return what the key has spent by the usage table, once that has so many rows of its calls."""
    deadline = time.monotonic() + 10
    query = "select count(*), coalesce(sum(cost), 0) from usage where key = ? and status = 200"
    while True:
        with closing(sqlite3.connect(f"file:{place(gateway)}?mode=ro", uri=True)) as database:
            count, total = database.execute(query, [key.id]).fetchone()
        if count >= rows:
            assert count == rows
            return total
        assert time.monotonic() < deadline, f"{count} of {rows} rows"
        time.sleep(0.1)
