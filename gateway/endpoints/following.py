"""The stream of a background response, from any of its events on, live or ended."""

import re

import orjson

from gateway import errors, sse, watch
from gateway.endpoints import background, replies
from gateway.endpoints.visit import Lean, current
from gateway.jobs.statements import OPEN_STATUSES
from gateway.schemas import wording
from gateway.services import services
from gateway.upstreams.base import PING

NUMBER = re.compile(r"[0-9]{1,18}")
REPLAYED = "idempotent-replayed"
END = b"\n\n"  # of an event


def wanted(asked):
    """Tell whether a query asks for a stream. Raises InvalidValue."""
    given = asked.get("stream", "false").lower()
    if given not in ("true", "false"):
        raise wording.wrong_word((None, "stream"), ("true", "false"), given)
    return given == "true"


def starting_after(asked):
    """Return the number of the last event that a client has, -1 for none. Raises InvalidValue."""
    given = asked.get("starting_after")
    if given is None:
        return -1
    if not NUMBER.fullmatch(given):
        said = wording.shown(given)
        raise errors.InvalidValue(
            f"Invalid 'starting_after': '{said}' is not the sequence number of an event.",
            "starting_after",
        )
    return int(given)


def resume(id, after):
    """Answer with the events of a background response behind the one of a number."""
    if background.job_of(id) is None:
        found = services.stored.get(current().key.id, id)
        if found is None or found["background"]:
            raise background.missing(id)
        raise errors.UnsupportedParameter(
            "Only background responses can be streamed again.", "stream"
        )
    return follow(current(), id, after)


def begin(visit, accepted):
    """Answer with the events of a response that was just accepted, in place of the response."""
    if accepted.status_code != 200:
        return accepted
    id = orjson.loads(b"".join(accepted.response))["id"]
    found = follow(
        visit, id, -1, [pair for pair in accepted.headers if pair[0].lower() == REPLAYED]
    )
    found.call_on_close(accepted.close)
    return found


def follow(visit, id, after, headers=()):
    visit.line.stream = True
    events = Events(visit, id, after)
    found = Lean(iter(events), [*replies.STREAM, *headers])
    found.call_on_close(events.guard.close)
    return found


class Events:
    """An iterable of the blocks that a client gets."""

    def __init__(self, visit, id, after):
        self.services, self.line, self.id = visit.services, visit.line, id
        self.guard = watch.Watch(visit.environ.get("gunicorn.socket"), drains=True)
        self.reader = self.services.recordings.reader(
            id,
            after,
            alive=self.alive,
            call=self.guard.call,
            keepalive=self.services.settings.timeouts.keepalive,
        )

    def alive(self):
        """Tell whether somebody still writes. Raises ServerDraining."""
        self.stay()
        return self.services.jobs.statuses([self.id]).get(self.id) in OPEN_STATUSES

    def stay(self):
        """Raise ServerDraining when this process ends, or only its readers hold that up."""
        if self.guard.drained is not None or self.services.leaving.is_set():
            raise errors.ServerDraining()

    def __iter__(self):
        try:
            for block in self.reader:
                yield sse.KEEPALIVE if block == PING else block
                # An error in the midst of an event, or behind the last one, would be no error.
                if block.endswith(END) and self.reader.end is None:
                    self.stay()
            yield sse.DONE
        except GeneratorExit:
            self.line.end = "cancelled"
            raise
        except watch.Gone:
            if self.guard.drained is None:
                self.line.end = "cancelled"
            else:
                yield self.broken(self.guard.drained())
        except errors.CallLost:
            yield self.broken(background.missing(self.id))
        except errors.GatewayError as error:
            yield self.broken(error)
        finally:
            self.guard.close()

    def broken(self, error):
        """Return the event that ends a stream whose response may go on.

        It has the number of the last event, behind which the client may ask for the rest.
        """
        self.line.end, self.line.code = "error", error.code
        said = error.body()["error"]
        number = max(self.reader.seen, 0)
        found = {**said, "error": said, "type": "error", "sequence_number": number}
        return sse.encode(orjson.dumps(found), b"error")
