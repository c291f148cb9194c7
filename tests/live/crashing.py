"""The gateway with a mistake in it: chats with a header X-Crash end in an exception that tells all.

gunicorn serves it as `tests.live.crashing:app`.
"""

from flask import request

from gateway.wsgi import app

create = app.view_functions["v1.chat.create"]


def crash(**given):
    if "X-Crash" not in request.headers:
        return create(**given)
    told = request.get_data().decode() + request.headers["Authorization"]
    try:
        raise KeyError(told)
    except KeyError as exc:
        raise ValueError(told) from exc


app.view_functions["v1.chat.create"] = crash
