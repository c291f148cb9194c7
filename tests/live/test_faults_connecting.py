"""Rows F1, F2, F34 and F35 of the fault table: upstreams that no connection can be made to."""

import shutil
import socket
import time
from contextlib import ExitStack

import pytest

from tests.live.faults import assert_complete, assert_error
from tests.live.tls import Authority, tls_upstream
from tests.serving import ROOT
from tests.upstream import ScriptedUpstream, black_hole, refused_url

pytestmark = pytest.mark.live

UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "{url}"
api_key = "sk-upstream-secret"
ca_file = "{ca_file}"
max_in_flight = {limit}

[[model]]
id = "{name}"
upstreams = [{{ name = "{name}", model = "echo" }}]
"""
# Python imports this at its start, before gevent takes hold of anything.
RESOLVER = """
import _socket, time
ask, sleep = _socket.getaddrinfo, time.sleep
def getaddrinfo(host, *arguments, **named):
    if host == "slow.test":
        sleep(3)
    if str(host).endswith(".test"):
        raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
    return ask(host, *arguments, **named)
_socket.getaddrinfo = getaddrinfo
"""
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def https_to_plain(upstream):
    """Return an https URL of a server that knows no TLS and says so in HTTP."""
    for _ in range(10):
        upstream.greet(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return upstream.url.replace("http:", "https:")


@pytest.fixture(scope="module")
def site(open_site, tmp_path_factory):
    assert shutil.which("openssl"), "these tests make certificates with the openssl command"
    folder = tmp_path_factory.mktemp("places")
    (folder / "sitecustomize.py").write_text(RESOLVER)
    authority = Authority(folder)
    with ExitStack() as stack:
        enter = stack.enter_context
        silent = enter(socket.create_server(("127.0.0.1", 0)))
        places = {
            "refused": enter(refused_url()),
            "black-hole": enter(black_hole()),
            "no-name": "http://gone.test/v1",
            "slow-name": "http://slow.test/v1",
            "fresh": enter(ScriptedUpstream()).url,
            "tls-right": enter(tls_upstream(authority.signed("right"))),
            "tls-expired": enter(tls_upstream(authority.signed("expired", days=-1))),
            "tls-other-host": enter(tls_upstream(authority.signed("other", host="other.test"))),
            "tls-self-signed": enter(tls_upstream(authority.selfsigned("localhost"))),
            "tls-none": https_to_plain(enter(ScriptedUpstream())),
            "tls-silent": f"https://127.0.0.1:{silent.getsockname()[1]}/v1",
        }
        ca = folder / "authority.crt"
        more = [
            UPSTREAM.format(name=name, url=url, ca_file=ca, limit=0 if name == "slow-name" else 1)
            for name, url in places.items()
        ]
        yield open_site(
            more="\n".join(["[retry]\nattempts = 0", *more]),
            environ={"PYTHONPATH": f"{folder}:{ROOT}"},
        )


@either
@pytest.mark.parametrize(
    "model",
    ["refused", "no-name", "tls-expired", "tls-other-host", "tls-self-signed", "tls-none"],
)
def test_upstream_that_cannot_be_reached_is_502_at_once(site, model, stream):
    with site.settles(status=502, code="upstream_unreachable", attempts=f"{model}:connect"):
        for _ in range(2):  # the second needs the permit of the first
            answer = site.ask(model, stream=stream)
            assert_error(answer, 502, "upstream_unreachable", retry=True)
            assert answer.took < 0.5


@either
@pytest.mark.parametrize("model", ["black-hole", "slow-name", "tls-silent"])
def test_upstream_that_connects_too_slowly_is_504_at_the_connect_timeout(site, model, stream):
    with site.settles(status=504, code="upstream_timeout", attempts=f"{model}:connect"):
        answer = site.ask(model, stream=stream)
    assert_error(answer, 504, "upstream_timeout", "connect", retry=True)
    assert 0.9 < answer.took < 2


def test_certificate_of_a_trusted_authority_is_taken(site):
    with site.settles(end="ok", status=200):
        assert_complete(site.ask("tls-right"), stream=False)


def test_hung_lookups_hold_no_other_upstream_up(site):
    def other():
        time.sleep(0.3)
        return site.ask("fresh")

    hung = [lambda: site.ask("slow-name")] * 12
    *late, right = site.at_once(*hung, other)
    assert_complete(right, stream=False)
    assert right.took < 0.5
    for answer in late:
        assert_error(answer, 504, "upstream_timeout", "connect", retry=True)
        assert answer.took < 2.5
