"""The scripted upstream, cheap enough not to matter: `python -m bench.upstream PORT`.

Two paths of its own steer it: GET /script?chunks=N&delay=MS says what streams are from now on, and
GET /stop breaks off every stream that is open.
"""

import heapq
import itertools
import re
import select
import socket
import sys
import time

from bench import answers

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
STREAM = re.compile(rb'"stream": ?true')
USAGE = re.compile(rb'"include_usage": ?true')
GOLDEN = 0.618034  # multiples of it, modulo 1, spread streams evenly over the time of one chunk


class Client:
    """One connection, and the stream that is open on it, if any."""

    def __init__(self, sock):
        self.sock, self.number = sock, sock.fileno()
        self.received, self.waiting = b"", b""
        self.chunks, self.left, self.turn = None, 0, 0


class Upstream:
    """Answers on one socket until the process ends."""

    def __init__(self, port, clock=time.monotonic):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.poller = select.epoll()
        self.poller.register(self.listener, select.EPOLLIN)
        self.clients, self.due, self.clock = {}, [], clock
        self.turns = itertools.count()
        self.count, self.delay, self.phase = 10, 0.02, 0.0
        self.completion, self.models = answers.completion(), answers.models()
        self.pieces = {usage: answers.Chunks(usage) for usage in (False, True)}
        self.ok = answers.plain({"ok": True})

    def run(self):
        listening = self.listener.fileno()
        while True:
            wait = max(self.due[0][0] - self.clock(), 0) if self.due else -1
            for number, events in self.poller.poll(wait):
                if number == listening:
                    self.accept()
                elif client := self.clients.get(number):
                    self.serve(client, events)
            if self.due:
                self.tick(self.clock())

    def accept(self):
        try:
            while True:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.clients[sock.fileno()] = Client(sock)
                self.poller.register(sock, select.EPOLLIN)
        except BlockingIOError:
            pass

    def serve(self, client, events):
        if events & select.EPOLLOUT:
            self.flush(client)
        if not events & ~select.EPOLLOUT:
            return
        try:
            data = client.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.drop(client)
        client.received = client.received + data if client.received else data
        self.request(client)

    def request(self, client):
        """Answer the request that has come, once it is whole."""
        head, found, body = client.received.partition(HEAD_END)
        if not found:
            return
        length = LENGTH.search(head)
        if length:
            if len(body) < int(length[1]):
                return
        elif b"chunked" in head.lower() and not body.endswith(b"0\r\n\r\n"):
            return
        client.received = b""
        self.answer(client, head, body)

    def answer(self, client, head, body):
        if STREAM.search(body):
            self.open(client, self.pieces[USAGE.search(body) is not None])
        elif head.startswith(b"POST"):
            self.send(client, self.completion)
        else:
            path = head.split(b" ", 2)[1].decode()
            self.send(client, self.models if path.endswith("/models") else self.steer(path))

    def steer(self, path):
        if path == "/stop":
            for client in [client for client in self.clients.values() if client.chunks]:
                self.drop(client)
        elif path.startswith("/script?"):
            given = dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
            self.count, self.delay = int(given["chunks"]), float(given["delay"]) / 1000
        return self.ok

    def open(self, client, chunks):
        """Begin a stream; its first token goes out at once and the second after part of a delay."""
        client.chunks, client.left = chunks, self.count - 1
        client.turn = next(self.turns)  # what is planned for an earlier stream is then out of date
        self.phase = (self.phase + GOLDEN) % 1
        self.send(client, chunks.first)
        self.plan(client, self.clock() + self.delay * self.phase)

    def plan(self, client, moment):
        heapq.heappush(self.due, (moment, client.turn, client))

    def tick(self, now):
        """Send every chunk that is due."""
        while self.due and self.due[0][0] <= now:
            moment, turn, client = heapq.heappop(self.due)
            if client.chunks is None or client.turn != turn:
                continue
            if client.left:
                client.left -= 1
                self.plan(client, moment + self.delay)
                self.send(client, client.chunks.next[client.left % 8])
            else:
                last, client.chunks = client.chunks.last, None
                self.send(client, last)

    def send(self, client, data):
        if client.waiting:
            client.waiting += data
            return
        try:
            sent = client.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self.drop(client)
        if sent < len(data):
            client.waiting = data[sent:]
            self.poller.modify(client.sock, select.EPOLLIN | select.EPOLLOUT)

    def flush(self, client):
        data, client.waiting = client.waiting, b""
        self.poller.modify(client.sock, select.EPOLLIN)
        self.send(client, data)

    def drop(self, client):
        client.chunks = None
        if self.clients.pop(client.number, None):
            client.sock.close()


if __name__ == "__main__":
    Upstream(int(sys.argv[1])).run()
