"""How the gateway's cost grows with the work: points of curves, each CPU seconds a request."""

from bench import bodies
from bench.measures import number, warm, whole
from bench.processes import pss


def of_bodies(gateway, sizes, results):
    """Messages in a chat, and bytes in a prompt, of one gateway that runs already."""
    for count in sizes.messages:
        results.add_point("messages", count, cost(gateway, sizes, bodies.of_messages(count)))
    for size in sizes.bytes:
        results.add_point("bytes", size, cost(gateway, sizes, bodies.of_size(size)))


def cost(gateway, sizes, body):
    """Return the seconds of CPU that one request with this body takes."""
    expected = max(1, len(body) / 20_000)  # beside a small one, so that large ones end in time
    count = number(gateway.rate, sizes.seconds / 2 / expected, sizes)
    return whole(gateway, [gateway.request(body)], 4, count)[0]


def of_models(make, sizes, results):
    """Models in the configuration. `make(**more)` gives a gateway that is not started."""
    for count in sizes.models:
        started(make(models=count, name=f"models-{count}"), sizes, results, "models", count)


def of_keys(make, sizes, results):
    """Keys in the database, all of them in use."""
    for count in sizes.keys:
        started(make(keys=count, name=f"keys-{count}"), sizes, results, "keys", count)


def started(gateway, sizes, results, curve, x):
    """Measure small chats of a gateway of its own, its start and its memory."""
    gateway.start()
    try:
        warm(gateway, sizes)
        request = gateway.request(bodies.small())
        requests = [gateway.with_key(request, key) for key in gateway.keys]
        count = number(gateway.rate, sizes.seconds / 2, sizes)
        cpu, _, _ = whole(gateway, requests, 4, count)
        results.add_point(curve, x, cpu)
        results.add_point(f"{curve}_start", x, gateway.startup)
        results.add_point(f"{curve}_memory", x, pss(gateway.pid))
    finally:
        gateway.stop()
