"""The gunicorn worker: gevent's, with an answer in one send and errors in the contract's shape.

gunicorn's own loop sends head and body apart, asks its configuration again and again and formats a
line for an access log that nobody reads; all of it is on the path of every request.
"""

import contextlib
import logging
import secrets
import socket

import gevent
from gevent.server import StreamServer
from gunicorn.http import errors as http
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.workers import ggevent

from gateway import errors, logs
from gateway.answer import Answer, environment, unread

log = logging.getLogger("gateway")

LINGER = 30  # seconds for a client that was refused early to send the rest and read why
SILENCE = 5  # seconds of nothing from it that end this sooner


class Listener(StreamServer):
    """Takes one new connection a turn: of a thousand at once the first are answered first."""

    max_accept = 1


class Waiting(gevent.Timeout):
    """Bounds the wait for a request, and notes in `idle` which greenlet waits."""

    def __init__(self, idle, seconds):
        super().__init__(seconds, False)
        self.idle, self.greenlet = idle, gevent.getcurrent()

    def __enter__(self):
        self.idle.add(self.greenlet)
        return super().__enter__()

    def __exit__(self, kind, exc, traceback):
        self.idle.discard(self.greenlet)
        return super().__exit__(kind, exc, traceback)


ggevent.StreamServer = Listener  # gunicorn sets this itself, but only above one worker


class GatewayWorker(ggevent.GeventWorker):
    """gunicorn's gevent worker with our own way from a parsed request to its answer."""

    def init_process(self):
        self.idle = set()  # greenlets whose connections wait for their next request
        self.shared = {
            "wsgi.version": (1, 0),
            "wsgi.errors": WSGIErrorsWrapper(self.cfg),
            "wsgi.multithread": True,
            "wsgi.multiprocess": self.cfg.workers > 1,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        # gunicorn looks a setting up by two calls, a dozen times a request; they are fixed by now.
        settings = self.cfg.settings.items()
        self.cfg.__dict__.update({name: setting.get() for name, setting in settings})
        super().init_process()

    def run(self):
        gevent.spawn(self.let_idle_go)
        super().run()

    def let_idle_go(self):
        """Once this worker is to end, close the connections that nothing happens on.

        gunicorn would wait for each of them, and nobody could connect meanwhile.
        """
        while self.alive:
            gevent.sleep(0.2)
        for greenlet in list(self.idle):
            greenlet.kill(block=False)

    def timeout_ctx(self):
        return Waiting(self.idle, self.cfg.keepalive)

    def handle_request(self, listener_name, req, sock, addr):
        """Answer one request. Raises StopIteration when the connection is to be closed."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer = Answer(req, sock)
        answer.closing = answer.closing or not self.alive
        try:
            self.respond(environment(req, sock, addr, listener_name, self.shared), answer)
        except (TimeoutError, gevent.GreenletExit, SystemExit):
            # The client has taken nothing for the write timeout, or this worker ends now.
            raise StopIteration from None
        except OSError:
            raise  # the client has left; gunicorn says nothing of that
        except Exception:
            if not answer.started:
                raise
            self.log.exception("Error handling request")
            raise StopIteration from None
        if unread(req.body):
            linger(sock)
        elif not answer.closing:
            return True
        raise StopIteration

    def respond(self, environ, answer):
        blocks = self.wsgi(environ, answer.start_response)
        try:
            for block in blocks:
                answer.write(block)
            answer.close()
        finally:
            if hasattr(blocks, "close"):
                blocks.close()

    def handle_error(self, req, client, addr, exc):
        """Answer what never became a request, and say so in a log line."""
        if isinstance(exc, (gevent.GreenletExit, SystemExit, TimeoutError)):
            return
        error = explained(exc)
        request_id = f"req_{secrets.token_hex(16)}"
        line = logs.Line(request_id, getattr(req, "method", None), getattr(req, "path", None))
        line.status, line.code, line.end = error.status, error.code, "error"
        if error.status == 500:
            log.error("unhandled error", exc_info=exc)
        self.wsgi.extensions["gateway"].lines.add("info", line.fields(line.started))
        with contextlib.suppress(OSError):
            client.sendall(raw(error, request_id))
        linger(client)


def linger(client):
    """Take what the client still sends: closing at once would reset its answer away."""
    with contextlib.suppress(OSError), gevent.Timeout(LINGER, False):
        client.shutdown(socket.SHUT_WR)
        client.settimeout(SILENCE)
        while client.recv(65536):
            pass


def explained(exc):
    """Say in our words what gunicorn could not parse."""
    if isinstance(exc, http.LimitRequestLine):
        return errors.URITooLong()
    if isinstance(exc, http.LimitRequestHeaders):
        return errors.HeadersTooLarge()
    if not isinstance(exc, http.ParseException):
        return errors.InternalError()
    error = errors.InvalidRequest("The request is malformed.")
    if isinstance(exc, http.ExpectationFailed):
        error.status = 417
    elif isinstance(exc, http.UnsupportedTransferCoding):
        error.status = 501
    elif isinstance(exc, http.InvalidHTTPVersion):
        error.status = 505
    return error


def raw(error, request_id):
    """Return a whole HTTP answer for an error that no application has seen."""
    response = errors.reply(error)
    response.headers["x-request-id"] = request_id
    response.headers["connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    return f"HTTP/1.1 {response.status}\r\n{head}\r\n".encode("latin-1") + response.get_data()
