"""What is measured of one running system: each function gives {row: value} in seconds and bytes."""

import time
from dataclasses import dataclass

from bench import answers, bodies
from bench.load import Paced, Streams, Whole
from bench.processes import CPU, pss
from bench.stats import percentile

FOR_EVER = 10**9  # tokens of a stream that ends when it is broken off


@dataclass(frozen=True)
class Sizes:
    """How much is asked: `seconds` of load at a time, and how many streams of which length."""

    seconds: float = 2.0
    warm: float = 1.0
    idle: float = 3.0
    most: int = 20_000  # requests of one measurement
    streams: int = 32
    chunks: int = 100
    delay: float = 0.02
    open: tuple = (1, 100, 1000)
    open_delay: float = 0.2
    hold: float = 2.0  # how long the open streams are read on
    patience: float = 20  # seconds in which all of them have to begin
    singles: int = 15  # streams opened one after the other
    prompt: int = 1_000_000
    models: tuple = (10, 200, 2000)
    keys: tuple = (10, 1000, 10_000)
    messages: tuple = (10, 100, 1000)
    bytes: tuple = (1_000, 10_000, 100_000, 1_000_000)


QUICK = Sizes(
    seconds=0.3, warm=0.2, idle=1.0, most=2_000, chunks=20, open=(1, 100), hold=0.5, singles=3,
    models=(10, 200), keys=(10, 1000), messages=(10, 100), bytes=(1_000, 100_000),
)  # fmt: skip


def warm(system, sizes):
    """Load a system until it runs as it will; note the requests a second that it can do."""
    requests = [system.request(bodies.small())]
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < sizes.warm:
        count += 64
        with Whole(system.port, 32, requests, 64, answers.WHOLE_TOKEN) as load:
            last = time.perf_counter()
            load.run()
    system.rate = 64 / (time.perf_counter() - last)


def idle(systems, sizes):
    """Return {system: {row: value}} of what they use when nobody asks for anything."""
    time.sleep(max(system.settle for system in systems))
    before = [(system, CPU(system.pid)) for system in systems]
    time.sleep(sizes.idle)
    for system, cpu in before:
        system.idle = cpu.used() / sizes.idle
    return {system.name: {"idle_cpu": system.idle} for system in systems}


def whole(system, requests, connections, count, load=Whole):
    """Return (seconds of CPU a request, seconds that all took, latencies).

    A connection's first answer is left out of the latencies, because it has been opened for it.
    """
    cpu, count = CPU(system.pid), count + connections
    began = time.perf_counter()
    with load(system.port, connections, requests, count, answers.WHOLE_TOKEN) as running:
        running.run()
    took = time.perf_counter() - began
    return settled(system, cpu) / count, took, running.latencies[connections:]


def settled(system, cpu):
    """Return what was used, when all is written down; without what a system uses anyway."""
    time.sleep(system.settle)
    return cpu.used() - system.idle * system.settle


def number(rate, seconds, sizes):
    """Return how many requests last about so long at so many a second."""
    return int(min(max(rate * seconds, 32), sizes.most))


def small(system, sizes):
    """Small chats of 32 clients that pause after each answer, at most 1,600 a second."""
    requests = [system.request(bodies.small())]
    count = number(min(system.rate, 1500), sizes.seconds, sizes)
    system.small_cpu, _, _ = whole(system, requests, 32, count, Paced)
    return {"request_cpu": system.small_cpu}


def full(system, sizes):
    """Small chats, 32 at a time, as fast as the system can."""
    count = number(system.rate, sizes.seconds, sizes)
    cpu, took, latencies = whole(system, [system.request(bodies.small())], 32, count)
    return {
        "full_request_cpu": cpu,
        "requests_per_second": (count + 32) / took,
        "latency_32_p50": percentile(latencies, 0.50),
        "latency_32_p99": percentile(latencies, 0.99),
    }


def single(system, sizes):
    """Small chats, one at a time."""
    count = number(system.rate, sizes.seconds / 4, sizes)
    requests = [system.request(bodies.small())]
    with Whole(system.port, 1, requests, count + 1, answers.WHOLE_TOKEN) as load:
        load.run()
    found = load.latencies[1:]
    return {"latency_1_p50": percentile(found, 0.5), "latency_1_p99": percentile(found, 0.99)}


def chunks(system, upstream, sizes):
    """Whole streams from beginning to end, several at a time."""
    upstream.script(sizes.chunks, sizes.delay)
    cpu = CPU(system.pid)
    request = system.request(bodies.stream())
    with Streams(system.port, sizes.streams, request, answers.TOKEN, sizes.chunks) as load:
        load.run()
    return {"chunk_cpu": settled(system, cpu) / load.seen}


def prompt(system, sizes):
    """Chats with a large prompt, beside the small ones just measured."""
    requests = [system.request(bodies.of_size(sizes.prompt))]
    count = int(min(max(system.rate * sizes.seconds / 20, 4), 100))
    cpu, _, _ = whole(system, requests, 2, count)
    return {"prompt_cpu": cpu, "prompt_more_cpu": cpu - system.small_cpu}


def singles(system, upstream, sizes):
    """Return the first-token delays of streams opened one after the other."""
    upstream.script(FOR_EVER, sizes.open_delay)
    request, found = system.request(bodies.stream()), []
    for _ in range(sizes.singles):
        with Streams(system.port, 1, request, answers.TOKEN) as load:
            load.run()
        upstream.break_off()
        found += load.first
    return found


def open_streams(system, upstream, sizes, count, idle):
    """Open streams at once and read on with all of them open; `idle` is Pss_Anon before any."""
    first = singles(system, upstream, sizes) if count == 1 else []
    upstream.script(FOR_EVER, sizes.open_delay)
    request = system.request(bodies.stream())
    with Streams(system.port, count, request, answers.TOKEN) as load:
        load.open(sizes.patience)
        memory = pss(system.pid, "Pss_Anon") - idle
        cpu, seen = CPU(system.pid), load.seen
        load.hold(sizes.hold)
        used, seen = cpu.used(), load.seen - seen
    upstream.break_off()
    first += load.first
    return {
        f"first_token_{count}_p50": percentile(first, 0.50),
        f"first_token_{count}_p99": percentile(first, 0.99),
        f"stream_memory_{count}": memory / count,
        f"open_chunk_cpu_{count}": used / seen if seen else None,
    }
