"""The scripted upstream of the soak: `python -m bench.soak.upstream PORT`.

It is `gateway mock` with a book: GET /book gives a list of [call, asked, begun, over] for each
request that names a call (`soak 17` in its body). Times are monotonic seconds, which all processes
of a machine share; `begun` is when the first event was out, `over` when nothing more was to come.
"""

import re
import sys
import threading
import time

from gateway import mock

NAMED = re.compile(rb"soak (\d+)")
MODEL = "echo"


class Book:
    """Answers requests and writes down when."""

    def __init__(self):
        self.calls = []

    def __call__(self, request):
        named = NAMED.search(request.body)
        if named:
            return self.noted(request, int(named[1]))
        if request.path == "/book":
            return mock.json(list(self.calls))(request)
        return mock.models([MODEL])(request)

    def noted(self, request, number):
        entry = [number, time.monotonic(), None, None]
        self.calls.append(entry)
        sent = 0
        try:
            for step in scripted(request):
                yield step
                sent += isinstance(step, bytes)
                if sent == 2 and entry[2] is None:  # the head, and the first event
                    entry[2] = time.monotonic()
        finally:  # reached at once when the gateway closes, which ends the generator
            entry[3] = time.monotonic()


def scripted(request):
    """Answer as the model's name says, and rightly if it says nothing."""
    model = request.fields.get("model", MODEL)
    answer = mock.fault(model) if model.startswith("mock-") else mock.reply()
    return answer(request)


def main(port):
    with mock.ScriptedUpstream(port=port, keep=1) as server:
        server.always(Book())
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
