"""Responses to store, and what is expected of them."""

import sqlalchemy as sa

from gateway.tables import responses as table

HOUR = 3600


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def named(number):
    return f"resp_{number:032x}"


def response(number, text="hi", **more):
    output = [{"id": f"msg_{number}", "type": "message", "content": text}]
    return {
        "id": named(number), "object": "response", "model": "m", "status": "completed",
        "output": output, "metadata": {"n": str(number)}, **more,
    }  # fmt: skip


def said(number):
    return {"id": f"in_{number}", "type": "message", "role": "user", "content": f"say {number}"}


def put(store, number, previous=None, key="mine", **more):
    before = None if previous is None else store.history(key, named(previous))
    id = None if previous is None else named(previous)
    return store.put(key, response(number, **more), [said(number)], id, before)


def conversation(*numbers):
    """Return the items of some turns, the last one's answer not among them."""
    items = [item for n in numbers for item in (said(n), *response(n)["output"])]
    return items[:-1]


def held(store):
    query = sa.select(table.c.id)
    return {int(id[5:], 16) for id in store.database.read(lambda c: c.scalars(query).all())}
