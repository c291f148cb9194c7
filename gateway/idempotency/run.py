"""One call with an Idempotency-Key on its way, in a greenlet that belongs to no client."""

import logging
from contextlib import closing
from functools import partial

import orjson

from gateway import errors, failures, sse
from gateway.idempotency.live import Live
from gateway.recordings import DONE
from gateway.watch import Watch, limit

log = logging.getLogger("gateway")

CUT = "cut"  # how the recording of an answer ends that this process could not bring to its end
EVENTS = "text/event-stream"
# What says in a stream that it comes to a bad end. No upstream's own words look like this: its
# errors are told in ours.
LAST_WORDS = (b"event: response.failed\n", b'data: {"error":{"message":')
PATIENCE = 2.0  # seconds that the news of a failure waits for its name to be free


class Run:
    """Makes the call of a row, records its answer and passes it on to who began it.

    `answer(watch, promise)` returns a response, or raises; `ended()` is called when the call is
    over. An answer that accepts a job is kept by `promise(connection, response)`, in the
    transaction that queues the job: neither is ever there without the other.
    """

    def __init__(self, calls, row, answer, ended):
        self.calls, self.row, self.answer, self.ended = calls, row, answer, ended
        self.live = Live()
        self.writer = calls.writer(row)
        self.thread = self.watch = None
        self.told = False  # the head of the answer is out
        self.tail = b""  # the last block
        self.last = []  # (block, count) from the one on that says that it has gone wrong
        self.promised = False
        self.over = False

    @property
    def open(self):
        """Tell whether there is anything that the lease is still needed for."""
        # Not whether its thread lives, which it does not yet while it is started.
        return not self.over or self.writer.pending

    def run(self):
        self.watch = Watch()
        kept, error = False, errors.InternalError()
        try:
            kept, error = self.make(), None
        except errors.GatewayError as exc:
            error = exc
        except Exception as exc:
            log.error("unhandled error", exc_info=exc)
        finally:
            try:
                self.end(kept, error)
            finally:
                self.over = True

    def make(self):
        """Pass the answer on, and tell whether it is one to be kept."""
        with closing(self.answer(self.watch, self.promise)) as response:
            headers = list(response.headers)
            if self.promised:
                self.live.begin(response.status_code, headers)
                self.live.put(response.get_data(), 1)
                return True
            streamed = kind(headers).startswith(EVENTS)
            self.tell(response.status_code, headers)
            self.live.begin(response.status_code, headers)
            for block in response.response:
                self.pass_on(block, streamed)
        if self.watch.gone:
            raise errors.ServerDraining()
        whole = not self.last and self.tail.endswith(sse.DONE)
        return response.status_code < 300 and (whole or not streamed)

    def promise(self, connection, response):
        """Keep an answer. Raises CallLost, which undoes all of that, if another has the call."""
        head = beginning(response.status_code, list(response.headers))
        self.calls.promise(connection, self.row, head, response.get_data())
        self.promised = True

    def tell(self, status, headers, code=None):
        """Record how the answer begins."""
        self.told = True
        self.writer.head(beginning(status, headers, code))

    def pass_on(self, block, streamed):
        if block == sse.KEEPALIVE:
            self.live.put(block)
        elif block:
            count = block.count(b"\n\n") if streamed else 1
            self.tail = block
            if self.last or (streamed and any(words in block for words in LAST_WORDS)):
                self.last.append((block, count))
            else:
                self.live.put(block, count)
                self.writer.add(block, count)

    def end(self, kept, error):
        """Write down what the call has come to, whatever that is."""
        kind = DONE
        if error is not None:
            error = errors.ServerDraining() if self.watch.gone else error
            kept = lasting(error)
            kind = self.refuse(error)
        for words in self.last:
            self.writer.add(*words)
        # A promise that ended in an error may hold or not: what is written then changes none.
        if error is not None or not self.promised:
            also = partial(self.calls.end, row=self.row, kept=kept and not self.writer.broken)
            self.writer.close(kind, also)
            if not kept:
                self.free()
        for words in self.last:
            self.live.put(*words)
        self.live.close(error)
        self.watch.close()
        self.ended()

    def free(self):
        """Free the name before anybody hears that the call has failed, and sends it again."""
        if not self.calls.database.takes_writes:
            return
        try:
            with limit(PATIENCE, errors.DependencyUnavailable()):
                self.writer.flush_now()
        except Exception:
            pass  # The recordings' flusher tries again, and says what is wrong.

    def refuse(self, error):
        """Record an error as the answer where there is none yet; return how the recording ends."""
        if self.told:
            return CUT
        response = failures.reply(error)
        self.tell(error.status, list(response.headers), error.code)
        self.writer.add(response.get_data(), 1)
        return DONE

    def stop(self):
        """End the call now, as far as it has come."""
        if self.watch is not None:
            self.watch.leave()


def beginning(status, headers, code=None):
    """Return what is recorded of how an answer begins; `code` is its error's."""
    return orjson.dumps({"status": status, "headers": headers, "code": code})


def kind(headers):
    """Return the content type in header pairs."""
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def lasting(error):
    """Tell whether an error is an upstream's word on the request, which a repeat won't change."""
    return error.source == "upstream" and 400 <= error.status < 500 and not error.retry
