"""What a soak has found, as plain data: seconds from the load's beginning, bytes, counts."""

import collections

from bench import stats

PLOTTED = 120  # points of the rate


def told(run, results, calls, books, lines):
    """Return everything for a file; `results` are the checks, `lines` those through memory."""
    return {
        "seconds": run.seconds,
        "rate": run.rate,
        "lease": run.lease,
        "calls": len(calls),
        "requests": run.client.requests,
        "held_back": run.load.held_back,
        "rows": len(books.rows),
        "cpu": cpu(run),
        "latency": latency(calls),
        "kinds": kinds(calls),
        "checks": [check._asdict() for check in results],
        "operations": [{**step, "at": step["at"] - run.began} for step in run.aside.done],
        "processes": [
            {**line, "from": line["from"] - run.began, "until": line["until"] - run.began}
            for line in lines
        ],
        "series": {"samples": samples(run), "ended": ended(run, calls)},
    }


def cpu(run):
    """Return the cores that each side has kept busy while calls were made."""
    spent = {"gateway": run.samples.cpu(run.loaded), **run.cost}
    return {name: seconds / (run.loaded - run.began) for name, seconds in spent.items()}


def latency(calls):
    took = [call.took for call in calls if call.kind.name == "chat" and call.outcome == "200"]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: stats.percentile(took, share) if took else None for name, share in shares.items()}


def kinds(calls):
    """Return {kind: {outcome: count}}."""
    found = collections.defaultdict(collections.Counter)
    for call in calls:
        found[call.kind.name][call.outcome] += 1
    return {name: dict(found[name].most_common()) for name in sorted(found)}


def samples(run):
    """Return [second, PSS, descriptors, processes] over time."""
    return [
        [
            round(when - run.began, 1),
            sum(one["pss"] for one in found.values()),
            sum(one["fds"] for one in found.values()),
            len(found),
        ]
        for when, found in run.samples.found
    ]


def ended(run, calls):
    """Return [second, calls that ended in each second from there on]."""
    step = max(1, run.seconds // PLOTTED)
    counts = collections.Counter(int(call.ended - run.began) // step for call in calls)
    return [[n * step, counts[n] / step] for n in range(run.seconds // step)]
