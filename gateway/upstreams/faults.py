"""What an upstream's failure means to the client: foreign exceptions and statuses to our errors."""

import contextlib
import time
from email.utils import parsedate_to_datetime

import orjson
from requests import exceptions

from gateway import errors, watch
from gateway.upstreams.transport import Reset

# What a wait for an upstream may raise of others' exceptions; `of()` translates them.
FOREIGN = (watch.Late, exceptions.RequestException, UnicodeError)
LONGEST_MESSAGE = 4000
LIMITED = "The upstream's rate limit was reached."
CODES = {"exceed_context_size_error": "context_length_exceeded"}  # llama.cpp says it in `type`


def of(exc):
    """Translate an exception of requests, of the transport or of the watch."""
    if isinstance(exc, watch.Late):
        return errors.UpstreamTimeout(exc.timer)
    if isinstance(exc, exceptions.ConnectTimeout):
        return errors.UpstreamTimeout("connect")
    if isinstance(exc, exceptions.Timeout):
        return errors.UpstreamTimeout("total")
    if isinstance(exc, exceptions.ChunkedEncodingError | Reset):
        error = errors.UpstreamReset()
        error.began = not isinstance(exc, Reset) or exc.began
        return error
    if isinstance(exc, exceptions.ConnectionError):
        return errors.UpstreamUnreachable()
    return errors.UpstreamBadResponse()


def refusal(status, headers, body, model, secrets=()):
    """Translate an answer other than 200. `secrets` are texts that must not reach the client."""
    error = meaning(status, headers, said(body, secrets), model)
    error.upstream_status, error.source = status, "upstream"
    return error


def meaning(status, headers, found, model):
    """Return the error for a status; `found` is what `told` gave of the upstream's own."""
    if status in (401, 402, 403, 407):
        return errors.UpstreamAuthFailed()
    if status == 408:
        return errors.UpstreamTimeout("total")
    if status in (429, 503, 529):
        return busy(status, retry_after(headers))
    if status >= 500:
        return errors.UpstreamBadResponse(f"The upstream failed with status {status}.")
    if status < 400:
        return errors.UpstreamBadResponse(f"The upstream answered with status {status}.")
    return refused(status, found, model)


def busy(status, seconds):
    """Return the error for an upstream that has no time; `seconds` is how long it asks to wait."""
    if status == 429:
        return errors.RateLimited(LIMITED, retry_after=seconds)
    error = errors.NoHealthyUpstream(retry_after=seconds)
    error.wait = seconds
    return error


def refused(status, found, model):
    """Pass on what an upstream says about the request, reshaped where it is not OpenAI's object."""
    param, kind = found.get("param"), found.get("type")
    code = found.get("code") or CODES.get(kind, "bad_request")
    if param == "stream" or code == "stream_not_supported":
        return errors.StreamNotSupported(model)
    message = found.get("message") or f"The upstream refused the request with status {status}."
    return errors.UpstreamRefused(status, message, kind, param, code)


def said(body, secrets):
    """Return what a body says of an error, as `told` does; {} if nothing that can be read."""
    with contextlib.suppress(orjson.JSONDecodeError):
        found = orjson.loads(body)
        if isinstance(found, dict):
            return told(found.get("error") or found, secrets)
    return {}


def told(found, secrets):
    """Return the texts in an upstream's error object that a client may see.

    Only its message may hold what can't be printed: the others go into logs and tables too.
    """
    found = dict(found) if isinstance(found, dict) else {"message": found}
    found.setdefault("message", detail(found))
    texts = {name: found.get(name) for name in ("message", "type", "param", "code")}
    return {
        name: text[:LONGEST_MESSAGE]
        for name, text in texts.items()
        if isinstance(text, str) and text and not any(secret in text for secret in secrets)
        if name == "message" or text.isprintable()
    }


def detail(found):
    """Return what FastAPI says is wrong: a text, or the first of a list."""
    found = found.get("detail")
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return found[0].get("msg")
    return found


def retry_after(headers, now=None):
    """Return the seconds that an upstream asks to wait, kept within 1 to 120, or None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1)):
        seconds = number(headers.get(name, ""))
        if seconds is not None:
            return clamped(seconds * scale)
    with contextlib.suppress(ValueError, OverflowError):
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return clamped(date.timestamp() - (time.time() if now is None else now))
    return None


def number(text):
    """Return a text as a number that can be compared, or None."""
    with contextlib.suppress(ValueError):
        found = float(text)
        return found if found == found else None
    return None


def clamped(seconds):
    return min(max(seconds, 1.0), 120.0)


def cut():
    """Return the error for an answer that began and has no end."""
    error = errors.UpstreamReset()
    error.began = True
    return error


def in_stream(found, model, secrets=()):
    """Translate an error object that an upstream sent in place of an answer."""
    code = found.get("code") if isinstance(found, dict) else None
    found = told(found, secrets)
    if type(code) is int and 400 <= code < 600:
        error = meaning(code, {}, found, model)
    else:
        message = found.get("message") or "The upstream reported an error."
        error = errors.UpstreamError(message, found.get("param"), found.get("code"))
    error.source, error.began = "upstream", True
    return error
