"""What an upstream's failure means to the client: foreign exceptions and statuses to our errors."""

import contextlib

import orjson
from requests import exceptions

from gateway import errors
from gateway.upstreams.transport import Reset

LARGEST_REFUSAL = 65536
CODES = {"exceed_context_size_error": "context_length_exceeded"}  # llama.cpp says it in `type`


def of(exc):
    """Translate an exception of requests or of the transport."""
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


def refusal(status, headers, body, model, secret=""):
    """Translate an answer other than 200. `secret` must not reach the client."""
    error = meaning(status, headers, body, model, secret)
    error.upstream_status, error.source = status, "upstream"
    return error


def meaning(status, headers, body, model, secret):
    if status in (401, 402, 403):
        return errors.UpstreamAuthFailed()
    if status == 408:
        return errors.UpstreamTimeout("total")
    if status == 429:
        seconds = retry_after(headers) or 1
        return errors.RateLimited("The upstream's rate limit was reached.", retry_after=seconds)
    if status in (503, 529):
        return errors.NoHealthyUpstream(retry_after=retry_after(headers) or 1)
    if status >= 500:
        return errors.UpstreamBadResponse(f"The upstream failed with status {status}.")
    if status < 400:
        return errors.UpstreamBadResponse(f"The upstream answered with status {status}.")
    return refused(status, said(body), model, secret)


def refused(status, found, model, secret):
    """Pass on what an upstream says about the request, reshaped where it is not OpenAI's object."""
    param, code = found.get("param"), found.get("code")
    message = found.get("message")
    if not isinstance(message, str) or not message or (secret and secret in message):
        message = f"The upstream refused the request with status {status}."
    kind = found.get("type") if isinstance(found.get("type"), str) else None
    if not isinstance(code, str) or not code:
        code = CODES.get(kind, "bad_request")
    if param == "stream" or code == "stream_not_supported":
        return errors.StreamNotSupported(model)
    param = param if isinstance(param, str) else None
    return errors.UpstreamRefused(status, message[:4000], kind, param, code)


def said(body):
    """Return the error object in a body, or {} if it holds none that can be read."""
    with contextlib.suppress(orjson.JSONDecodeError):
        found = orjson.loads(body)
        if isinstance(found, dict):
            inner = found.get("error", found)
            return inner if isinstance(inner, dict) else {"message": inner}
    return {}


def retry_after(headers):
    """Return the seconds that an upstream asks to wait, kept within 1 to 120, or None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * scale
            if seconds == seconds:
                return min(max(seconds, 1.0), 120.0)
    return None


def in_stream(found, model, secret=""):
    """Translate an error object that an upstream sent in place of an answer."""
    found = found if isinstance(found, dict) else {"message": found}
    message, code, param = found.get("message"), found.get("code"), found.get("param")
    if type(code) is int and 400 <= code < 600:
        error = meaning(code, {}, orjson.dumps({"error": found}), model, secret)
    else:
        if not isinstance(message, str) or not message or (secret and secret in message):
            message = "The upstream reported an error."
        error = errors.UpstreamError(
            message[:4000],
            param if isinstance(param, str) else None,
            code if isinstance(code, str) and code else "upstream_bad_response",
        )
    error.source, error.began = "upstream", True
    return error
