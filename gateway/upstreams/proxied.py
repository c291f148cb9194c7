"""An upstream behind an HTTP proxy: requests' own adapter, read the way a Wire is read."""

from requests import exceptions
from urllib3 import exceptions as urllib3

from gateway.upstreams.transport import Reset


class ProxiedWire:
    """The answer of requests' HTTPAdapter with the methods that streams are read by."""

    def __init__(self, reply):
        self.reply, self.raw = reply, reply.raw
        self.status = reply.status_code
        self.headers = {name.lower(): value for name, value in reply.headers.items()}

    def head(self):
        """The status is there already: requests waits for it before it returns."""

    def read1(self):
        """Wait for the next bytes of the body; b"" is its end."""
        try:
            return self.raw.read1(65536, decode_content=True)
        except urllib3.ReadTimeoutError as exc:
            raise exceptions.ReadTimeout(str(exc)) from exc
        except urllib3.DecodeError as exc:
            raise exceptions.ContentDecodingError(str(exc)) from exc
        except (urllib3.HTTPError, OSError) as exc:
            raise Reset(str(exc), began=True) from exc

    def read(self, limit):
        """Return the rest of the body. Raises ContentDecodingError above `limit` bytes."""
        pieces, size = [], 0
        while data := self.read1():
            pieces.append(data)
            size += len(data)
            if size > limit:
                raise exceptions.ContentDecodingError("answer too large")
        return b"".join(pieces)

    def release(self):
        self.raw.release_conn()

    def close(self):
        self.reply.close()
