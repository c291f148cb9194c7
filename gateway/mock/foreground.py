"""`gateway mock`: the scripted upstream in the foreground, telling what it can do and is asked."""

import threading

from gateway.mock.faults import describe, examples
from gateway.mock.server import CATALOGUE, ScriptedUpstream

KEPT = 100


def main(port=8099, host="127.0.0.1"):
    """Serve until Ctrl-C. Raises SystemExit where the address cannot be had."""
    models = (*CATALOGUE, *examples())
    try:
        upstream = ScriptedUpstream(host, port, models, keep=KEPT, seen=_tell)
    except OSError as exc:
        raise SystemExit(
            f"gateway mock cannot listen on {host}, port {port}: {exc.strerror}"
        ) from exc
    with upstream:
        print(f"Scripted upstream on {upstream.url} (any key). Ctrl-C ends it.\n")
        print(
            "A model's name picks the fault, N being a number; every other name answers rightly.\n"
        )
        print(describe(), end="\n\n", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


def _tell(request):
    model = request.fields.get("model", "")
    print(f"#{request.number} {request.method} {request.path} {model}".rstrip(), flush=True)
