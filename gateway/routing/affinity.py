"""Which of several equal upstreams a conversation belongs to, so that its prompt cache hits.

A weighted rendezvous hash: every worker and machine finds the same order without a store, and an
upstream that goes away moves only its own conversations. An upstream that is much busier than its
share is passed over. Calls that belong to no conversation go to the least busy one.
"""

import hashlib
import math
import random

PREFIX = 1024  # characters of a message that tell conversations apart
FIRST = 8  # messages, or parts of one, that are looked at
SLACK = 1.25  # how far above its share an upstream may be loaded


def conversation(call, key):
    """Return what names the conversation of a call, or None. `key` is the API key's id."""
    payload = call.payload
    for given in ("prompt_cache_key", "previous_response_id", "conversation"):
        named = payload.get(given)
        named = named.get("id") if isinstance(named, dict) else named
        if isinstance(named, str) and named:
            return f"{key}\0{named}"
    if call.endpoint == "chat":
        first = opening(payload.get("messages"))
    elif call.endpoint == "responses":
        given = payload.get("input")
        items = given if isinstance(given, list) else [{"role": "user", "content": given}]
        first = [text(payload.get("instructions")), *opening(items)]
    else:
        return None
    return "\0".join((key or "", call.model, *first))


def opening(messages):
    """Return the texts up to the first one of the user, which later turns repeat."""
    found = []
    for message in messages[:FIRST] if isinstance(messages, list) else ():
        if isinstance(message, dict):
            found.append(text(message.get("content")))
            if message.get("role") == "user":
                break
    return found


def text(content):
    """Return the beginning of a message's text, whatever its shape."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content[:FIRST] if isinstance(part, dict))
        content = next((part for part in parts if isinstance(part, str)), "")
    return content[:PREFIX] if isinstance(content, str) else ""


def order(targets, name, load):
    """Return equal targets, best first; `load` gives the calls in flight at a target."""
    if len(targets) == 1:
        return list(targets)
    named = random.randbytes(8) if name is None else name.encode("utf-8", "replace")
    seed = hashlib.blake2b(named, digest_size=8).digest()
    ranked = sorted(targets, key=lambda target: score(seed, target), reverse=True)
    if name is None:
        return sorted(ranked, key=lambda t: load(t) / t.weight if t.weight else math.inf)
    total, weights = sum(map(load, targets)) + 1, sum(t.weight for t in targets) or 1
    fits = [t for t in ranked if load(t) < math.ceil(SLACK * total * t.weight / weights)]
    return fits + [t for t in ranked if t not in fits]


def score(seed, target):
    """Return a target's score for a conversation: the highest of n is its with share weight."""
    place = f"{target.upstream.name}\0{target.model}".encode()
    drawn = int.from_bytes(hashlib.blake2b(place, key=seed, digest_size=8).digest(), "big")
    # 52 bits: with more, the largest draws would be rounded to 1, whose logarithm is 0.
    return -target.weight / math.log(((drawn >> 12) + 0.5) / 2**52)
