"""One claimed job while it runs: the call that its client would have made, and its end."""

import logging
import time

import orjson

from gateway import errors, sse, watch
from gateway.exchange import WholeReply
from gateway.jobs import ended as ends
from gateway.jobs.fold import FOLDS
from gateway.jobs.store import nothing
from gateway.logs import Line
from gateway.routing import retry
from gateway.routing.router import PATHS
from gateway.upstreams.base import Call

log = logging.getLogger("gateway")

AGAIN = 0.5  # seconds before the database is asked once more that was away
BRIEFEST = 0.5  # seconds that a job waits whose key is at its limits, however soon it might go on
OF_STREAMS = ("stream", "stream_options")
CANCELLED, DRAINED, LOST = "cancelled", "drained", "lost"  # why a job is stopped


class NoSink:
    """Of a job that nobody follows, no events are kept."""

    def join(self, turn):
        pass

    def add(self, block):
        pass

    def end(self, claimed, found):
        return nothing


NO_SINK = NoSink()


class Kept:
    """Keeps the row of usage, which is written with the job's end and not before."""

    row = None

    def add(self, row):
        self.row = row


class Running:
    """Runs a claimed job; `services` are the process's.

    `sink.join(turn)` is given the call's turn before it begins. `sink.add(block)` is given each
    block of events as a client gets it, after the job is known to be answered and before anything
    else is read. `sink.end(claimed, found)` comes before the job's own end is written, which is an
    Ended, a Back, or None where the job is no longer ours; it returns what is to be written with
    that end, and may raise DependencyUnavailable.
    """

    def __init__(self, services, claimed, sink=NO_SINK, sleep=time.sleep):
        self.services, self.claimed, self.sink = services, claimed, sink
        self.sleep = sleep
        self.line = Line(claimed.request_id, "POST", PATHS[claimed.endpoint])
        self.line.key, self.line.endpoint = claimed.key, claimed.endpoint
        self.kept = Kept()
        self.answered = False
        self.why = self.watch = None

    def stop(self, why):
        """End the job's call as soon as it waits for something; from any greenlet."""
        if self.why is None:
            self.why = why
            if self.watch is not None:
                self.watch.leave()

    def run(self):
        """Run the job until it has ended, is given back or is no longer ours."""
        found = self.outcome()
        self.watch.close()
        if not isinstance(found, ends.Ended):
            self.insist(self.sink.end, found)
        if found is None:
            log.warning("job %s is no longer this worker's", self.claimed.id)
        elif isinstance(found, ends.Back):
            self.insist(self.services.jobs.release, found.wait)
        else:
            self.finish(found)

    def outcome(self):
        """Return what becomes of the job: an Ended, a Back, or None for nothing that is ours."""
        try:
            self.guard()
            return self.answer()
        except (watch.Gone, errors.ClientGone):
            return self.stopped()
        except errors.GatewayError as error:
            if limited(error):
                return ends.Back(max(error.retry_after, BRIEFEST))
            return ends.failed(error)
        except Exception as exc:
            log.error("a job failed", exc_info=exc)
            return ends.failed(errors.InternalError())

    def stopped(self):
        if self.why == CANCELLED:
            return ends.CANCELLED
        if self.why == LOST:
            return None
        return ends.failed(errors.WorkerLost()) if self.answered else ends.Back()

    def answer(self):
        """Make the call and return the job's end. Raises GatewayError or Gone."""
        key = self.key()
        ways = self.ways()
        while True:
            payload = ways.pop(0)
            try:
                return self.exchange(payload, key)
            except errors.GatewayError as error:
                if not ways or self.answered or not self.worth_asking_whole(error):
                    raise

    def key(self):
        """Return the job's Key. Raises what a client would hear who came with it now."""
        claimed, services = self.claimed, self.services
        key = self.waiting(services.keys.working, claimed.key)
        if key is None:
            raise errors.InvalidKey("The API key of this job does not work any more.")
        route = services.catalogue.find(claimed.model)
        if not key.may_use(claimed.model):
            raise errors.ModelNotFound(claimed.model)
        if key.endpoints is not None and claimed.endpoint not in key.endpoints:
            raise errors.EndpointNotAllowed()
        self.line.model, self.line.label = route.model, route.label
        return key

    def ways(self):
        """Return the payloads to send, the next one where the one before cannot be streamed."""
        given = self.claimed.payload
        plain = {name: value for name, value in given.items() if name not in OF_STREAMS}
        self.mixed = False  # some of the candidates stream, and some do not
        if self.claimed.endpoint not in FOLDS or sounding(plain):
            return [plain]
        call = Call(self.claimed.endpoint, plain, None)
        try:
            targets = self.services.router.candidates(call, self.claimed.key)
        except errors.GatewayError:
            return [plain]  # the exchange is to fail by the same, and to be counted
        streams = [target.upstream.streams for target in targets]
        self.mixed = not all(streams)
        return [streamed(self.claimed.endpoint, given, plain), plain] if streams[0] else [plain]

    def worth_asking_whole(self, error):
        """Tell whether a call whose stream has failed at once may be answered without one."""
        if isinstance(error, errors.StreamNotSupported):
            return True
        return self.mixed and error.source == "upstream" and retry.verdict(error) != retry.STOP

    def exchange(self, payload, key):
        services, claimed = self.services, self.claimed
        size = len(orjson.dumps(payload)) if key.limited else 0
        ticket = services.limits.admitted(key)
        exchange = services.exchange(
            claimed.endpoint, payload, self.guard(), self.line, ticket, size, self.kept
        )
        if claimed.background:
            exchange.call.response_id = claimed.id
        self.sink.join(exchange.turn)
        reply = exchange.run()
        if isinstance(reply, WholeReply):
            return ends.answered(claimed.endpoint, reply.body)
        return self.stream(exchange, reply)

    def stream(self, exchange, reply):
        """Read a stream to its end and return the job's."""
        fold = FOLDS[self.claimed.endpoint]()
        try:
            self.read(reply, fold)
        except watch.Gone:
            if self.why == CANCELLED:
                exchange.settle(end="cancelled")
            else:
                exchange.settle(error=errors.WorkerLost())
            raise
        except errors.GatewayError as error:
            self.sink.add(reply.failed(error))
            raise
        except Exception:
            self.sink.add(reply.failed(errors.InternalError()))
            raise
        else:
            exchange.settle()
        finally:
            reply.blocks.close()
            exchange.forget()
        return ends.answered(self.claimed.endpoint, fold.body())

    def read(self, reply, fold):
        """Take a stream block by block; nothing is read behind the first before that is noted."""
        block = reply.first
        while block is not None:
            said = reply.said(block)
            if said is not sse.KEEPALIVE:
                if not self.answered:
                    self.begin()
                self.sink.add(said)
                fold.add(said)
            block = next(reply.blocks, None)

    def begin(self):
        """Commit that an answer has begun. Raises Gone where the job is no longer ours."""
        self.answered = self.waiting(self.services.jobs.answered, self.claimed)
        if not self.answered:
            self.why = LOST
            raise watch.Gone

    def guard(self):
        """Return a watch for the next waits, which `stop` ends."""
        if self.watch is not None:
            self.watch.close()
        self.watch = watch.Watch()
        self.watch.gone = self.why is not None
        return self.watch

    def waiting(self, function, *args):
        """Return what a function of the database returns, once that is there. Raises Gone."""
        while True:
            try:
                return function(*args)
            except errors.DependencyUnavailable:
                self.watch.sleep(AGAIN)

    def insist(self, function, *args, **values):
        """Change the job's row; False where it is no longer ours, or will not be in the end."""
        while True:
            try:
                return function(self.claimed, *args, **values)
            except errors.DependencyUnavailable:
                if self.why == LOST:
                    return False
                self.sleep(AGAIN)

    def finish(self, found):
        """Write the job's end, the row of its usage with it, and the line in the log."""
        try:
            done = self.write(found, self.row(found))
        except Exception as exc:
            log.error("the end of a job was refused", exc_info=exc)
            found = ends.failed(errors.InternalError())
            self.row(found)
            done = self.write(found, None)
        if not done:
            log.warning("job %s has ended, but was no longer this worker's", self.claimed.id)
            self.insist(self.sink.end, None)
            return
        level = "error" if self.line.status >= 500 else "info"
        self.services.lines.add(level, self.line.fields(time.monotonic()))

    def row(self, found):
        """Return the row of usage, which says the same of the end as the line and the job do."""
        line, row = self.line, self.kept.row
        said = found.error or (errors.JobCancelled().body()["error"] if not found.http else {})
        line.status = found.http or errors.JobCancelled.status
        line.code = said.get("code")
        line.end = "cancelled" if not found.http else "error" if found.error else "ok"
        return row and {**row, "status": line.status, "code": line.code, "end": line.end}

    def write(self, found, row):
        also = self.insist(self.sink.end, found)
        return also and self.insist(
            self.services.jobs.finish,
            found.status,
            result_status=found.http,
            result=found.body,
            error=found.error,
            usage=found.usage if isinstance(found.usage, dict) else None,
            usage_row=row,
            also=also,
        )


def limited(error):
    """Tell whether a job has only to wait: its key's limits were reached before it was sent."""
    return isinstance(error, errors.RateLimited) and error.source == "gateway"


def sounding(payload):
    """Tell whether a chat asks for sound, of which a stream gives another format than a body."""
    modes = payload.get("modalities")
    return bool(payload.get("audio")) or (isinstance(modes, list) and "audio" in modes)


def streamed(endpoint, given, plain):
    """Return a payload that asks for a stream."""
    options = given.get("stream_options") if given.get("stream") is True else None
    if endpoint == "chat":
        options = {**(options or {}), "include_usage": True}
    return {**plain, "stream": True, **({"stream_options": options} if options else {})}
