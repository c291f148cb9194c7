"""Seconds as OpenAI writes them in headers and messages."""

import math


def written(seconds):
    """Return seconds as `120ms`, `1.5s`, `6m0s` or `24h0m0s`, never less than they are."""
    thousandths = math.ceil(round(seconds * 1000, 6))
    if thousandths < 1000:
        return f"{thousandths}ms" if thousandths > 0 else "0s"
    whole, rest = divmod(thousandths, 1000)
    minutes, whole = divmod(whole, 60)
    shown = f"{whole}.{rest:03}".rstrip("0") + "s" if rest else f"{whole}s"
    if minutes < 60:
        return f"{minutes}m{shown}" if minutes else shown
    return f"{minutes // 60}h{minutes % 60}m{shown}"
