"""An upgrade of one machine, command by command as docs/deploying.md has it."""

import concurrent.futures
import itertools
import os
import re
import ssl
import threading
import time

import httpx2 as httpx
import pytest

from tests.live import nginx as site
from tests.live.nginx import Nginx
from tests.live.units import Machine, Service, Sockets
from tests.serving import KEY, ROOT, write_config
from tests.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not site.installed() and not os.environ.get("CI"), reason="nginx is not installed"
    ),
]

MESSAGES = [{"role": "user", "content": "a b c d e"}]


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


def documented():
    """Return the commands of the recipe that stop and start units."""
    text = (ROOT / "docs/deploying.md").read_text()
    recipe = text.partition("## Upgrading without a failed request")[2].partition("```sh")[2]
    lines = [line.partition("#")[0] for line in recipe.partition("```")[0].splitlines()]
    return [line.strip() for line in lines if line.startswith("systemctl ")]


def ports(config):
    """Return those of a configuration, the API's first."""
    return [int(port) for port in re.findall(r'bind = "127.0.0.1:(\d+)"', config.read_text())]


@pytest.mark.parametrize("socket_unit", [True, False])
def test_documented_upgrade_fails_no_call(tmp_path, upstream, socket_unit):
    """Whether or not the socket unit is in use; the standby has had its part of the calls."""
    for name in ("first", "standby", "nginx"):
        (tmp_path / name).mkdir()
    first, second = (write_config(tmp_path / name, upstream.url) for name in ("first", "standby"))
    sockets, standby = Sockets(ports(first)), Service(second)
    units = {"gateway.socket": sockets, "gateway-standby.service": standby}
    units["gateway.service"] = Service(first, sockets.held)
    if not socket_unit:
        del units["gateway.socket"]
    with (
        Machine(units) as machine,
        Nginx(tmp_path / "nginx", ports(first)[0], ports(second)[0]) as front,
    ):
        statuses = loaded(front, lambda: [machine.systemctl(line) for line in documented()])
    assert len(statuses) > 50
    assert set(statuses) == {200}, {s: statuses.count(s) for s in set(statuses)}
    assert len(standby.gateway.lines(endpoint="chat")) > 50


def loaded(nginx, act):
    """Return the statuses of calls, whole and streamed, that were made while `act` ran."""
    over, statuses = threading.Event(), []
    context = ssl.create_default_context(cafile=nginx.authority.path)

    def call(http, number):
        body = {"model": "gpt-test", "messages": MESSAGES, "stream": number % 2 == 0}
        try:
            answer = http.post(f"{nginx.url}/chat/completions", json=body)
        except httpx.HTTPError as exc:
            return type(exc).__name__
        complete = not body["stream"] or answer.text.endswith("data: [DONE]\n\n")
        return answer.status_code if complete else f"cut after {answer.text[-80:]!r}"

    def caller():
        head = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(verify=context, headers=head, timeout=20) as http:
            for number in itertools.count():
                if over.is_set():
                    return
                statuses.append(call(http, number))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(caller) for _ in range(4)]
        time.sleep(0.5)
        try:
            act()
            time.sleep(0.5)
        finally:
            over.set()
        for done in callers:
            done.result()
    return statuses
