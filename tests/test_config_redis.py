"""Which addresses of a Redis are accepted: those with which its package can do something."""

import pytest

from gateway.config import addresses
from gateway.config.mistakes import Wrong

GOOD = [
    "",
    "redis://h",
    "redis://h/",
    "redis://h:6379/0",
    "redis://[::1]:6379/15/",
    "redis://u:p%40%2Fs@h:6379/0",
    "redis://h:6379/?db=3",
    "rediss://:hush@h:6380/0?db=1&ssl_cert_reqs=none&ssl_check_hostname=False",
    "rediss://h/?ssl_ca_certs=/ca.pem&ssl_certfile=/my.pem&ssl_keyfile=%2Fmy.key",
]
BAD = [
    ("redis://h/limits", "may name a database only by its number"),
    ("redis://h/-1", "may name a database only by its number"),
    ("redis://h/99999999999999999999", "may name a database only by its number"),
    ("redis://h/0/1", "may name a database only by its number"),
    ("redis://h/0#x", 'must have no "#"'),
    ("redis://h/?db=limits", "its option db must be a whole number"),
    ("redis://h/?db=", "its option db must be a whole number"),
    ("redis://h/?db=1&db=x", "its option db must be a whole number"),
    ("redis://h/?socket_timeout=x", "unknown option (known: db)"),
    ("redis://h/?max_connections=-1", "unknown option (known: db)"),
    ("redis://h/?ssl_cert_reqs=none", "unknown option (known: db)"),
    ("rediss://h/?ssl_ca_cert=/ca.pem", 'unknown option, did you mean "ssl_ca_certs"?'),
    ("rediss://h/?ssl_ca_certs=ca.pem", "its option ssl_ca_certs must be an absolute path"),
    ("rediss://h/?ssl_cert_reqs=bogus", "ssl_cert_reqs must be none, optional or required"),
    ("rediss://h/?ssl_check_hostname=maybe", "ssl_check_hostname must be true or false"),
]


@pytest.mark.parametrize("url", GOOD)
def test_what_is_accepted_makes_a_connection_of_the_package(url):
    redis = pytest.importorskip("redis")
    assert addresses.redis_url(url, None) == url
    if url:
        redis.ConnectionPool.from_url(url).make_connection()


@pytest.mark.parametrize("url, told", BAD)
def test_what_would_fail_in_a_worker_is_refused_without_its_text(url, told):
    with pytest.raises(Wrong) as caught:
        addresses.redis_url(url, None)
    assert told in str(caught.value)
