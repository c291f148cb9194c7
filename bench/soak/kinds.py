"""The table of kinds: of a thousand calls how many, what is done, and what may come of it.

`ends` maps what may come of a call to the `end` of its row of usage; None means that there is no
row. What a kill explains (a connection that broke, `worker_lost`) is not in the table.
"""

from functools import partial
from typing import NamedTuple

from bench.soak import calls, deferred, twice
from bench.soak.calls import EMBEDDINGS, RESPONSES


class Kind(NamedTuple):
    """One kind; `once` says that its upstream may be asked only once for each row.

    `long` ones take seconds: short runs begin with one of each, and make no more of them.
    """

    name: str
    share: int
    run: object
    ends: dict
    once: bool = True
    long: bool = False


WHOLE, DONE, NO_ROW = {"200": "ok"}, {"done": "ok"}, None
JOB = {"completed": "ok"}
CANCELLED = {"cancelled": "cancelled", "completed": "ok"}
REFUSED = "429 rate_limit_exceeded"
SLOTS = "429 concurrency_limit_exceeded"
BAD_WHOLE = "502 upstream_bad_response"
RESET = "upstream_reset"


def fault(name, share, model, ends, run=calls.whole, **how):
    long = model in ("mock-hang", "mock-late-3000")
    return Kind(name, share, partial(run, model=model, **how), ends, once=False, long=long)


KINDS = [
    Kind("chat", 260, calls.whole, WHOLE),
    Kind("chat, streamed", 140, calls.streamed, DONE),
    Kind(
        "chat, long stream",
        15,
        partial(calls.streamed, model="mock-slow-100", words=60),
        DONE,
        long=True,
    ),
    Kind("responses", 40, calls.native, WHOLE),
    Kind("responses, streamed", 40, partial(calls.streamed, path=RESPONSES), DONE),
    Kind("responses, translated", 40, calls.translated, WHOLE),
    Kind(
        "responses, translated, streamed",
        40,
        partial(calls.streamed, path=RESPONSES, model="translated"),
        DONE,
    ),
    Kind("responses, continued", 20, calls.conversation, WHOLE),
    Kind("embeddings", 50, calls.embeddings, WHOLE),
    Kind("models", 20, calls.models, {"200": NO_ROW}),
    Kind("job", 20, deferred.job, JOB),
    Kind("job, responses", 8, partial(deferred.job, path=RESPONSES, model="translated"), JOB),
    Kind("job, embeddings", 8, partial(deferred.job, path=EMBEDDINGS, model="fast"), JOB),
    Kind(
        "job, cancelled",
        10,
        partial(deferred.job, model="mock-slow-50", words=20, cancel=True),
        CANCELLED,
    ),
    fault(
        "job, failing",
        4,
        "mock-500",
        {"failed upstream_bad_response": "error"},
        deferred.job,
    ),
    Kind("background", 8, deferred.background, JOB),
    Kind(
        "background, translated",
        6,
        partial(deferred.background, model="translated-slow-30"),
        JOB,
    ),
    Kind("background, cancelled", 6, partial(deferred.background, cancel=True), CANCELLED),
    Kind("background, left and taken up", 15, deferred.background_streamed, JOB),
    Kind("sent twice", 20, twice.whole_twice, WHOLE),
    Kind("sent twice, streamed", 15, twice.streamed_twice, DONE),
    Kind(
        "key with rpm",
        25,
        partial(calls.whole, key="requests"),
        {**WHOLE, REFUSED: NO_ROW},
    ),
    Kind("key with tpm", 10, partial(calls.whole, key="tokens"), {**WHOLE, REFUSED: "error"}),
    Kind(
        "key with concurrency",
        15,
        partial(calls.streamed, key="slots", model="mock-slow-100", words=25),
        {**DONE, SLOTS: "error"},
    ),
    Kind(
        "key with a budget",
        8,
        partial(calls.whole, key="budget", max_tokens=32),
        {**WHOLE, "429 insufficient_quota": "error"},
    ),
    Kind("leaves a whole call", 15, calls.leaves_whole, {"left": "cancelled"}),
    Kind("leaves a stream", 15, calls.leaves_stream, {"left": "cancelled"}),
    Kind(
        "leaves a translated stream",
        8,
        partial(calls.leaves_stream, path=RESPONSES, model="translated-slow-50"),
        {"left": "cancelled"},
    ),
    Kind(
        "reads slowly", 3, partial(calls.streamed, words=30, size=50_000, pace=0.1), DONE, long=True
    ),
    Kind("stops reading", 1, calls.stops_reading, {"cut off": "cancelled"}, long=True),
    Kind("bad body", 25, calls.bad_body, {"400": NO_ROW}),
    Kind("wrong key", 15, calls.wrong_key, {"401 invalid_api_key": NO_ROW}),
    Kind(
        "unknown model",
        15,
        partial(calls.whole, model="nobody's"),
        {"404 model_not_found": NO_ROW},
    ),
    fault("upstream: 500", 8, "mock-500", {BAD_WHOLE: "error"}),
    fault("upstream: 429", 8, "mock-429-1", {REFUSED: "error"}),
    fault("upstream: resets", 8, "mock-reset", {f"502 {RESET}": "error"}),
    fault("upstream: resets, streamed", 5, "mock-reset", {f"502 {RESET}": "error"}, calls.streamed),
    fault(
        "upstream: cut in a stream",
        8,
        "mock-cut-after-3",
        {f"error {RESET}": "error"},
        calls.streamed,
    ),
    fault(
        "upstream: cut in a translated stream",
        5,
        "translated-cut-after-3",
        {"failed upstream_reset": "error"},
        calls.streamed,
        path=RESPONSES,
    ),
    fault("upstream: cut in an answer", 5, "mock-cut-after-1", {f"502 {RESET}": "error"}),
    fault("upstream: garbage", 8, "mock-bad-json-after-2", {BAD_WHOLE: "error"}),
    fault(
        "upstream: garbage in a stream",
        8,
        "mock-bad-json-after-2",
        {"error upstream_bad_response": "error"},
        calls.streamed,
    ),
    fault("upstream: hangs", 3, "mock-hang", {"504 upstream_timeout": "error"}),
    fault(
        "upstream: hangs before a stream",
        3,
        "mock-hang",
        {"error upstream_timeout": "error"},
        calls.streamed,
    ),
    fault("upstream: slow first token", 10, "mock-late-800", DONE, calls.streamed),
    fault("upstream: later than a ping", 3, "mock-late-3000", DONE, calls.streamed),
    fault(
        "upstream: now and then 503",
        10,
        "mock-flaky-30",
        {**WHOLE, "503 no_healthy_upstream": "error"},
    ),
    fault("upstream: 502, with a spare", 15, "spare", WHOLE),
]
