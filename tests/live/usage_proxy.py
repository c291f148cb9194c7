"""A TCP proxy before a server, so that a test can take the server away without touching it."""

import contextlib
import socket
import threading


class Proxy:
    """`with Proxy(host, port) as proxy:` forwards to it; `away()` ends that."""

    def __init__(self, host, port):
        self.target = host, port
        self.listener, self.sockets, self.threads = None, set(), []
        self.port = 0

    def __enter__(self):
        self.back()
        return self

    def __exit__(self, *exc):
        self.away()

    def back(self):
        """Listen, on the port of before."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.threads.append(threading.Thread(target=self.accept, args=(self.listener,)))
        self.threads[-1].start()

    def away(self):
        """Refuse every connection, and cut those that there are."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        while self.threads:
            self.threads.pop(0).join()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=(client,)))
            self.threads[-1].start()

    def serve(self, client):
        with client, socket.create_connection(self.target) as server:
            self.sockets |= {client, server}
            there = threading.Thread(target=self.forward, args=(client, server))
            there.start()
            self.forward(server, client)
            there.join()
            self.sockets -= {client, server}

    def forward(self, source, sink):
        """Pass on what comes; the end of either way ends both."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
