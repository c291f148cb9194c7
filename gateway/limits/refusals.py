"""What a client hears whose key has reached a limit, in the words that OpenAI uses."""

from gateway import errors
from gateway.limits.durations import written
from gateway.prices import usd

SOON = 1.0  # seconds after which a place may have come free
BRIEFEST = 0.001


def requests(key, window):
    return _rate(key, "requests per min (RPM)", key.rpm, window, 1)


def tokens(key, window, asked):
    return _rate(key, "tokens per min (TPM)", key.tpm, window, asked)


def _rate(key, unit, limit, window, asked):
    wait = max(window.reset, BRIEFEST)
    return errors.RateLimited(
        f"Rate limit reached for {key.id} on {unit}: Limit {limit}, "
        f"Used {limit - window.remaining}, Requested {asked}. "
        f"Please try again in {written(wait)}.",
        retry_after=wait,
    )


def beyond(key, asked):
    return errors.RequestBeyondLimit(
        f"Request too large for {key.id} on tokens per min (TPM): Limit {key.tpm}, "
        f"Requested {asked}. The input or output tokens must be reduced in order to run "
        "successfully."
    )


def concurrency(key):
    return errors.ConcurrencyLimited(
        f"Concurrency limit reached for {key.id}: Limit {key.concurrency}, "
        f"Used {key.concurrency}, Requested 1. Please try again in {written(SOON)}.",
        retry_after=SOON,
    )


def budget(key, left):
    period = "in total" if key.period == "total" else f"per {key.period}"
    return errors.InsufficientQuota(
        f"{errors.InsufficientQuota.message} {key.id} may spend {usd(key.budget)} USD "
        f"{period}, of which {usd(max(left, 0))} USD are left, and this request may need more."
    )
