"""The gunicorn worker: gevent's, with an answer in one send and errors in the contract's shape.

gunicorn's own loop sends head and body apart, asks its configuration again and again and formats a
line for an access log that nobody reads; all of it is on the path of every request.
"""

import contextlib
import errno
import logging
import os
import secrets
import socket
import time
from functools import partial

import gevent
from gunicorn.http import errors as http
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.sock import ssl_context
from gunicorn.workers import ggevent

from gateway import errors, failures, logs, watch, workers
from gateway.answer import Answer, environment, place, unread
from gateway.incoming import Incoming
from gateway.listener import Listener, Named, Waiting, make_room, readable
from gateway.pacing import Pace, Share

log = logging.getLogger("gateway")

LINGER = 30  # seconds for a client that was refused early to send the rest and read why
SILENCE = 5  # seconds of nothing from it that end this sooner
LOOK = 0.2  # seconds between two looks whether this worker is to end, and LATER whether it has
LATER = 0.1
QUIET = 2  # seconds that an idle connection has for one more request once this worker is to end
MARGIN = 2  # seconds before the master kills at which the calls that still run are told
LAST = 1.2  # seconds that they have for their last words
LEFT = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)  # what a client's leaving looks like
SPARE = 0.5  # seconds that jobs, which have more to write down, are told sooner


class GatewayWorker(ggevent.GeventWorker):
    """gunicorn's gevent worker with our own way from a parsed request to its answer."""

    write = None  # seconds in which a client is to take something of what it is sent

    def init_process(self):
        self.idle = set()  # the Waiting of each connection that has no request yet
        self.patience = self.cfg.keepalive
        self.hurried = False  # SIGINT or SIGQUIT has come, which wait for nobody
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
        # gunicorn's own loop does the same, and asks each time for what is hardly ever wanted.
        http2 = self.cfg.is_ssl or self.cfg.http2_cleartext != "off"
        other = self.cfg.protocol != "http" or self.cfg.proxy_protocol != "off"
        self.special = http2 or other or not self.cfg.keepalive
        self.places = {}  # what environments have in common, by the listener's own address
        make_room(2 * self.cfg.worker_connections)
        super().init_process()

    def run(self):
        """Serve until this worker is to end, then until its requests and jobs have ended."""
        self.pace, self.share = Pace(), Share()
        self.write = self.wsgi.extensions["gateway"].settings.timeouts.write
        listeners = [self.listen(sock) for sock in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(LOOK)
        workers.tell(self)
        for listener in listeners:
            listener.close()
        self.finish(listeners)

    def listen(self, sock):
        sock.setblocking(1)
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        handle, most = partial(self.handle, Named(sock)), self.worker_connections
        listener = Listener(sock, self.cfg.workers, most, handle=handle, **tls)
        listener.start()
        return listener

    def finish(self, listeners):
        """Let what runs end by itself; tell what still does before the master kills, and go."""
        seconds = 0 if self.hurried else self.cfg.graceful_timeout
        told = time.monotonic() + max(seconds - MARGIN, 0)
        self.patience = QUIET
        for waiting in list(self.idle):
            waiting.hurry(QUIET)
        gateway = self.wsgi.extensions["gateway"]
        calls = gateway.idempotency  # run without their clients; some begin behind the drain
        jobs = gevent.spawn(gateway.drain, seconds - SPARE)
        while any(listener.busy for listener in listeners) or not jobs.ready() or calls.busy():
            self.notify()
            gevent.sleep(LATER)
            now = time.monotonic()
            told = min(told, now) if self.hurried else told
            if now >= told:
                self.patience = 0
                watch.drain(errors.ServerDraining)
                calls.stop()
            if now >= told + LAST:
                self.log.warning("Worker ends what has not ended in time (pid:%s)", self.pid)
                break
        for listener in listeners:
            listener.kill(LATER)

    def notify(self):
        """Tell the master that this worker lives; without a master it is to end."""
        self.tmp.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False

    def handle_quit(self, sig, frame):
        self.alive, self.hurried = False, True

    def timeout_ctx(self):
        return self.waiting(gevent.getcurrent().client)

    def waiting(self, client):
        return Waiting(self.idle, self.patience, client)

    def handle(self, listener, client, addr):
        """Answer the requests of one connection, one after the other."""
        if self.special:
            gevent.getcurrent().client = client
            return super().handle(listener, client, addr)
        request, name = None, listener.getsockname()
        try:
            waiting = partial(self.waiting, client)
            incoming = Incoming(self.cfg, client, addr, waiting, self.share.step)
            while (request := incoming.next()) is not None:
                self.pace.step()
                self.handle_request(name, request, client, addr)
                request = None  # a body would be held while nothing comes
        except (StopIteration, http.NoMoreData):
            return
        except OSError as exc:
            if exc.errno not in LEFT:
                self.log.exception("Socket error processing request.")
        except BaseException as exc:
            self.handle_error(request, client, addr, exc)
        finally:
            client.close()

    def handle_request(self, listener_name, req, sock, addr):
        """Answer one request. Raises StopIteration when the connection is to be closed."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer = Answer(req, sock, self.write)
        answer.closing = answer.closing or not self.alive
        try:
            environ = environment(req, sock, addr, self.place(listener_name))
            environ["gateway.push"] = answer.push
            self.respond(environ, answer)
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
        if unread(req.body) or (answer.closing and readable(sock)):
            linger(sock)
        elif not answer.closing:
            return True
        raise StopIteration

    def place(self, name):
        """Return what the environments of a listener's requests have in common."""
        found = self.places.get(name)
        if found is None:
            found = self.places[name] = {**self.shared, **place(name)}
        return found

    def respond(self, environ, answer):
        blocks = self.wsgi(environ, answer.start_response)
        try:
            for block in () if answer.bare else blocks:
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
        self.wsgi.extensions["gateway"].refused(line)
        with contextlib.suppress(OSError):
            client.settimeout(self.write)
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
    response = failures.reply(error)
    response.headers["x-request-id"] = request_id
    response.headers["openai-processing-ms"] = "1"  # the least there is: nothing was done for it
    response.headers["connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    return f"HTTP/1.1 {response.status}\r\n{head}\r\n".encode("latin-1") + response.get_data()
