"""Calls with an Idempotency-Key: who begins one, who joins it, and who gets its answer again."""

import copy
import re
from functools import partial
from hashlib import sha256

import orjson

from gateway import errors, sse, watch
from gateway.endpoints import admission
from gateway.endpoints.preferences import wants_job
from gateway.endpoints.visit import Lean
from gateway.idempotency.run import CUT
from gateway.recordings import cut_short
from gateway.upstreams.base import PING, Call, streams
from gateway.upstreams.dialects import responses

HEADER = "Idempotency-Key"
FORM = re.compile(r"[ -~]{1,255}")
AT_ONCE = 256 * 1024  # bytes of a whole answer that is read before it is begun


def run(visit, endpoint, payload, answer):
    """Answer a call that has the header.

    `answer(line=, guard=, keep=)` makes it and returns a response; `keep(connection, response)`
    runs in the transaction that queues a job.

    It may be made in a greenlet of its own, so it knows of no request but `visit`.
    """
    name = visit.environ["HTTP_IDEMPOTENCY_KEY"]
    if not FORM.fullmatch(name):
        raise errors.InvalidValue(
            f"Invalid '{HEADER}': expected 1 to 255 printable ASCII characters.", HEADER
        )
    calls = visit.services.idempotency
    row, mine = calls.begin(visit.key.id, endpoint, name, fingerprint(visit.environ, payload))
    guard = watch.Watch(visit.environ.get("gunicorn.socket"), drains=True)
    client = Client(visit, endpoint, payload, guard, row)
    try:
        return client.begin(answer) if mine else client.join()
    except watch.Gone:
        guard.close()
        raise (guard.drained or errors.ClientGone)() from None
    except BaseException:
        guard.close()
        raise


def fingerprint(environ, payload):
    """Return what two equal calls have in common: the body, and what kind of answer is wanted."""
    later = "HTTP_PREFER" in environ and wants_job(environ["HTTP_PREFER"])
    return sha256(orjson.dumps([payload, later], option=orjson.OPT_SORT_KEYS)).hexdigest()


class Client:
    """One client of a call, and what it is sent."""

    def __init__(self, visit, endpoint, payload, guard, row):
        self.visit, self.services, self.guard = visit, visit.services, guard
        self.endpoint, self.payload, self.row = endpoint, payload, row
        visit.line.stream = streams(endpoint, payload)

    def begin(self, answer):
        """Make the call, and answer with what it gives while it gives it."""
        line = copy.copy(self.visit.line)  # the call's own: it may end long after the request has
        work = lambda guard, keep: answer(line=line, guard=guard, keep=keep)  # noqa: E731
        # The place that the request holds is the call's from now on.
        run = self.services.idempotency.start(self.row, work, admission.handed_on(self.visit))
        try:
            head = run.live.begun(self.guard.call)
        except BaseException:
            run.live.leave()
            self.learn(run, line)
            raise
        response = self.response(*head, self.live(run))
        response.call_on_close(partial(self.learn, run, line))
        return response

    def learn(self, run, line):
        """Put into the request's log line what has become known of the call."""
        own = self.visit.line
        known = {name: value for name, value in vars(line).items() if name != "status"}
        if own.end != "ok":  # the client has left, or was told something that the call was not
            known.update(end=own.end, code=own.code)
        elif not run.live.closed:
            known["end"] = "cancelled"
        vars(own).update(known)

    def join(self):
        """Answer with what the call gives, or gave, to the one who began it."""
        reader = self.reader()
        head = orjson.loads(reader.head())
        if head["code"] is not None:
            self.visit.line.code, self.visit.line.end = head["code"], "error"
        headers = [*map(tuple, head["headers"]), ("idempotent-replayed", "true")]
        return self.response(head["status"], headers, self.recorded(reader, headers))

    def response(self, status, headers, blocks):
        found = Lean(self.taken(blocks), headers)
        found.status_code = status
        found.call_on_close(self.guard.close)
        return found

    def taken(self, blocks):
        """Pass blocks on, and note where the client does not take all of them."""
        try:
            yield from blocks
        except GeneratorExit:
            self.parting()
            raise

    def reader(self, after=-1):
        return self.services.idempotency.reader(
            self.row,
            after=after,
            call=self.guard.call,
            keepalive=self.services.settings.timeouts.keepalive,
        )

    def recorded(self, reader, headers):
        """Return the blocks of a recorded answer; a small whole one is read at once."""
        found = {name.lower(): value for name, value in headers}
        if "content-length" not in found:
            return self.rest(reader)
        if int(found["content-length"]) <= AT_ONCE:
            return (b"".join(reader),)
        return self.pieces(reader)

    def pieces(self, reader):
        """Yield a large whole answer; where it cannot be had to its end, it is cut."""
        try:
            yield from reader
        except watch.Gone:
            self.parting()
        except errors.GatewayError as error:
            self.noted(error)
            raise

    def live(self, run):
        """Yield what the call gives, when it comes; a client that is slow reads the recording."""
        live = run.live
        try:
            yield from live.taken(self.guard.call)
            if live.behind:
                yield from self.rest(self.reader(live.seen))
        except watch.Gone:
            yield self.parted(self.reader(live.seen))
        except errors.GatewayError as error:
            self.services.recordings.flusher.flush_safely()  # its beginning is read from there
            yield self.failed(self.reader(live.seen), error)
        finally:
            live.leave()

    def rest(self, reader):
        """Yield a recorded stream; its end is said, whatever becomes of the recording."""
        try:
            for block in reader:
                yield sse.KEEPALIVE if block == PING else block
            if reader.end == CUT:
                raise errors.ServerDraining()
        except watch.Gone:
            yield self.parted(reader)
        except errors.GatewayError as error:
            yield self.failed(reader, error)

    def parted(self, reader):
        """Return the last words to a client that has to leave, if it has not left by itself."""
        error = self.parting()
        return b"" if error is None else self.failed(reader, error)

    def parting(self):
        """Note how a client ends that goes before the end; return the error if it has to."""
        if self.guard.drained is None:
            self.visit.line.end = "cancelled"
            return None
        return self.noted(self.guard.drained())

    def noted(self, error):
        self.visit.line.end, self.visit.line.code = "error", error.code
        return error

    def failed(self, reader, error):
        self.noted(error)
        return cut_short.events(self.endpoint, reader, error, self.skeleton)

    def skeleton(self):
        call = Call(self.endpoint, self.payload, self.guard)
        return responses.skeleton(call)
