"""Callers that go on all the time, whole and streamed in turn, and what they were answered."""

import collections
import http.client
import itertools
import json
import threading
import time

from tests.serving import KEY

HEAD = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


class Load:
    """`with Load(port) as load:` calls from four threads, each over a connection that it keeps."""

    def __init__(self, port, callers=4, model="gpt-test"):
        self.port, self.model = port, model
        self.over, self.found = threading.Event(), []  # (monotonic end, seconds, what came)
        self.threads = [threading.Thread(target=self.call) for _ in range(callers)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def call(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for number in itertools.count():
            if self.over.is_set():
                return connection.close()
            began = time.monotonic()
            came = self.once(connection, stream=number % 2 == 0)
            self.found.append((time.monotonic(), time.monotonic() - began, came))
            if came != 200:
                connection.close()
                time.sleep(0.01)  # who is refused would else call ten thousand times

    def once(self, connection, stream):
        turns = [{"role": "user", "content": "a b c d e"}]
        body = json.dumps({"model": self.model, "messages": turns, "stream": stream})
        try:
            connection.request("POST", "/v1/chat/completions", body, HEAD)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            return type(exc).__name__
        if stream and answer.status == 200 and not data.endswith(b"data: [DONE]\n\n"):
            return f"ends with {data[-100:]}"
        return answer.status

    def more(self, count=20, seconds=30):
        """Wait until so many more calls have been answered."""
        wanted, deadline = len(self.found) + count, time.monotonic() + seconds
        while len(self.found) < wanted:
            assert time.monotonic() < deadline, f"{len(self.found)} of {wanted} calls"
            time.sleep(0.02)

    @property
    def outcomes(self):
        return dict(collections.Counter(came for _, _, came in self.found))

    @property
    def longest(self):
        """Return the seconds that the slowest call took."""
        return max(took for _, took, _ in self.found)

    @property
    def gap(self):
        """Return the longest time in which no call succeeded."""
        ends = sorted(end for end, _, came in self.found if came == 200)
        return max(later - earlier for earlier, later in itertools.pairwise(ends))
