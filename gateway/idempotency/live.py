"""What goes straight from a call to the client that began it, without a way round the database."""

import collections
import threading

MOST = 1024 * 1024  # bytes that wait for a slow client; it reads the recording from there on


class Live:
    """Blocks from the greenlet of a call to that of its client, who may leave or fall behind.

    `head` is (status, header pairs) of the answer, `seen` the ordinal of the last event taken.
    """

    def __init__(self):
        self.head = self.error = None
        self.blocks, self.size, self.seen = collections.deque(), 0, -1
        self.came = threading.Event()
        self.closed = self.behind = self.left = False

    def begin(self, status, headers):
        """Tell the client how the answer begins."""
        self.head = status, headers
        self.came.set()

    def put(self, block, count=0):
        """Pass a block on, in which `count` events end."""
        if self.left or self.behind:
            return
        if self.blocks and self.size + len(block) > MOST:
            self.behind = True
            self.blocks.clear()
        else:
            self.blocks.append((block, count))
            self.size += len(block)
        self.came.set()

    def close(self, error=None):
        """Nothing more will come, because of an error or not; only the first close counts."""
        if not self.closed:
            self.closed, self.error = True, error
            self.came.set()

    def leave(self):
        """The client has gone, or has all it wants."""
        self.left = True
        self.blocks.clear()

    def begun(self, call):
        """Wait for the head. Raises the call's error if there is none.

        `call(function)` runs every wait, as a Watch's does.
        """
        self.wait(call, lambda: self.head is not None)
        if self.head is None:
            raise self.error
        return self.head

    def taken(self, call):
        """Yield the blocks, up to the end or to where the client has fallen `behind`."""
        while True:
            self.wait(call, lambda: self.blocks or self.behind)
            if not self.blocks:
                break
            block, count = self.blocks.popleft()
            self.size -= len(block)
            self.seen += count
            yield block
        if self.error is not None and not self.behind:
            raise self.error

    def wait(self, call, ready):
        while True:
            self.came.clear()
            if ready() or self.closed:
                return
            call(self.came.wait)
