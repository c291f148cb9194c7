"""One API key: how its secret looks, and what it may use."""

import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = re.compile("sk-([0-9A-Za-z]{12})-[0-9A-Za-z]{43}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key without its secret. `id` is public (`key_` and 12 characters), times unix seconds.

    None stands for "no bound" everywhere. `models` may end in `*`, `budget` is nano-USD in each
    `period` (day, week, month or total), `old_until` is when the last replaced secret stops.
    """

    id: str
    name: str
    created_at: float | None = None
    revoked_at: float | None = None
    expires_at: float | None = None
    models: tuple | None = None
    endpoints: tuple | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    budget: int | None = None
    period: str | None = None
    metadata: dict = field(default_factory=dict, hash=False)
    old_until: float | None = None
    limited: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        bounds = (self.rpm, self.tpm, self.concurrency, self.budget)
        object.__setattr__(self, "limited", any(bound is not None for bound in bounds))

    def may_use(self, model):
        """Tell whether the key may ask for a model id; a `*` is never empty."""
        return self.models is None or any(matches(pattern, model) for pattern in self.models)

    def state(self, now):
        """Say in a word whether the key works."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def matches(pattern, model):
    """Tell whether a model id, or a pattern with a `*` at its end, means this model.

    A `*` is never empty.
    """
    if pattern.endswith("*"):
        return len(model) >= len(pattern) and model.startswith(pattern[:-1])
    return model == pattern


def digest(secret):
    """Return what is kept of a key: the SHA-256 of all of it, in hex."""
    return sha256(secret.encode()).hexdigest()


def new_secret(name=None):
    """Return a secret: `sk-`, the 12 characters that name its key, and 256 random bits in 43."""
    name = name or "".join(secrets.choice(BASE62) for _ in range(12))
    return f"sk-{name}-{_base62(secrets.randbits(256), 43)}"


def fixed_key(secret):
    """Return the Key of one that has no row; its id comes from its hash."""
    return Key("key_" + _base62(int(digest(secret), 16), 12), "fixed")


def _base62(number, length):
    found = ""
    for _ in range(length):
        number, rest = divmod(number, 62)
        found = BASE62[rest] + found
    return found
