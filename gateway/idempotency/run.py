"""One call with an Idempotency-Key on its way, in a greenlet that belongs to no client."""

import logging
from contextlib import closing
from functools import partial

import orjson

from gateway import errors, failures, sse
from gateway.idempotency.live import Live
from gateway.recordings import DONE
from gateway.watch import Watch

log = logging.getLogger("gateway")

CUT = "cut"  # how the recording of an answer ends that this process could not bring to its end
EVENTS = "text/event-stream"
FAILED = b"event: response.failed\n"


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
        self.promised = False

    @property
    def open(self):
        """Tell whether there is anything that the lease is still needed for."""
        return self.thread.is_alive() or self.writer.pending

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
            self.end(kept, error)

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
        return response.status_code < 300 and not (streamed and failed(self.tail))

    def promise(self, connection, response):
        """Keep an answer. Raises Lost, which undoes the transaction, if another has the call."""
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
            self.live.put(block, count)
            self.writer.add(block, count)

    def end(self, kept, error):
        """Write down what the call has come to, whatever that is."""
        kind = DONE
        if error is not None:
            error = errors.ServerDraining() if self.watch.gone else error
            kept = lasting(error)
            kind = self.refuse(error)
        # A promise that ended in an error may hold or not: what is written then changes none.
        if error is not None or not self.promised:
            also = partial(self.calls.end, row=self.row, kept=kept and not self.writer.broken)
            self.writer.close(kind, also)
        self.live.close(error)
        self.watch.close()
        self.ended()

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


def failed(tail):
    """Tell from the last block of a stream that it has not come to a good end."""
    return FAILED in tail or not tail.endswith(sse.DONE)


def lasting(error):
    """Tell whether an error is an upstream's word on the request, which a repeat won't change."""
    return error.source == "upstream" and 400 <= error.status < 500 and not error.retry
