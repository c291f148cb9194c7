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
REPORTED = "The upstream reported an error."
CODES = {"exceed_context_size_error": "context_length_exceeded"}  # llama.cpp says it in `type`
# Under status 200 an error has only its words to say what it is: the codes and types that say that
# the request is at fault, and the statuses that these and others stand for.
REFUSING = (
    "invalid_request_error context_length_exceeded exceed_context_size_error invalid_prompt "
    "invalid_type invalid_value unsupported_value missing_required_parameter unknown_parameter "
    "unsupported_parameter stream_not_supported empty_array array_above_max_length "
    "string_above_max_length integer_below_min_value integer_above_max_value "
    "decimal_below_min_value decimal_above_max_value content_filter content_policy_violation "
    "bio_policy misalignment_policy_violation invalid_image invalid_image_format "
    "invalid_base64_image invalid_image_url invalid_image_mode image_too_large image_too_small "
    "image_parse_error image_content_policy_violation image_file_too_large "
    "unsupported_image_media_type empty_image_file failed_to_download_image image_file_not_found"
)
UNPAID = ("insufficient_quota", "billing_not_active", "billing_hard_limit_reached")
STATUSES = {
    **dict.fromkeys(REFUSING.split(), 400),
    **dict.fromkeys(("authentication_error", "invalid_api_key"), 401),
    **dict.fromkeys(UNPAID, 402),
    "permission_error": 403,
    "model_not_found": 404,
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error"), 429),
    **dict.fromkeys(("overloaded_error", "server_is_overloaded", "slow_down"), 503),
}


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
    if status in (401, 402, 403, 407) or (status == 429 and unpaid(found)):
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


def unpaid(found):
    """Tell whether an upstream says that our account has no money, which no wait brings back."""
    return found.get("code") in UNPAID or found.get("type") in UNPAID


def busy(status, seconds, message=None):
    """Return the error for an upstream that has no time; `seconds` is how long it asks to wait."""
    if status == 429:
        return errors.RateLimited(message or LIMITED, retry_after=seconds)
    error = errors.NoHealthyUpstream(message, retry_after=seconds)
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
    """Translate an error object that an upstream sent as an event of a stream."""
    words = told(found, secrets)
    error = meant(found, words, model)
    if error is None:
        message = words.get("message") or REPORTED
        error = errors.UpstreamError(message, words.get("param"), words.get("code"))
    error.source, error.began = "upstream", True
    return error


def in_place(found, model, secrets=()):
    """Translate an error object that an upstream sent under status 200 as its whole answer."""
    words = told(found, secrets)
    error = meant(found, words, model)
    if error is None:
        error = errors.UpstreamBadResponse(words.get("message") or REPORTED)
    error.source = "upstream"
    return error


def meant(found, words, model):
    """Return the error for the status that an error object stands for, None if for none.

    `words` is what `told` gave of it.
    """
    code = found.get("code") if isinstance(found, dict) else None
    if type(code) is int and 400 <= code < 600:
        return meaning(code, {}, words, model)
    kind = words.get("type")
    status = 402 if unpaid(words) else STATUSES.get(words.get("code")) or STATUSES.get(kind)
    if status is None:
        return None
    if status in (429, 503):
        return busy(status, None, words.get("message"))
    # It may be the type of an event, or of something else: then it says nothing of the request.
    kind = kind if STATUSES.get(kind) == status else None
    return meaning(status, {}, {**words, "type": kind}, model)
