"""Redis, where limits are counted for several machines."""

import time

from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding

NAME = "redis"
QUICK = 0.2  # seconds after which the gateway itself would count for its machine alone


def check(settings):
    url = settings.server.redis_url
    if not url:
        yield Finding(OK, NAME, "Not used: this machine counts limits for itself.")
        return
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        yield Finding(PROBLEM, NAME, "The package redis is missing: install the extra [redis].")
        return
    waits = {"socket_timeout": QUICK, "socket_connect_timeout": QUICK}
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **waits)
    try:
        yield from asked(client)
    except (redis.RedisError, OSError) as exc:
        # The message may name the address or the account, but neither helps here.
        told = f"It does not answer within {QUICK * 1000:.0f} ms ({type(exc).__name__}): until it "
        yield Finding(PROBLEM, NAME, f"{told}does, each machine lets a whole limit through.")
    finally:
        client.close()


def asked(client):
    import redis

    began = time.monotonic()
    client.ping()
    yield Finding(OK, NAME, f"It answers ({(time.monotonic() - began) * 1000:.0f} ms).")
    try:
        found = client.config_get("maxmemory*")
    except redis.ResponseError:
        yield Finding(OK, NAME, "It does not tell its maxmemory-policy.")
        return
    limit, policy = int(found.get("maxmemory") or 0), found.get("maxmemory-policy") or "unknown"
    if not limit:
        yield Finding(OK, NAME, "It has no maxmemory.")
    elif policy.startswith("allkeys"):
        told = f"maxmemory-policy is {policy}: what is spent may be forgotten. Use volatile-ttl."
        yield Finding(WARNING, NAME, told)
    elif policy == "noeviction":
        told = (
            "maxmemory-policy is noeviction: when it is full, limits are counted by each machine."
        )
        yield Finding(WARNING, NAME, f"{told} Use volatile-ttl.")
    else:
        yield Finding(OK, NAME, f"maxmemory-policy is {policy}.")
