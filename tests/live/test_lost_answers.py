"""An answer that never reached its client, who sends the call again."""

import pytest

from tests.live.faults import assert_complete
from tests.live.site import SECOND

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def site(open_site):
    return open_site()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "key, calls", [(None, 2), ("lost", 1)], ids=["without a key", "with a key"]
)
def test_call_that_is_sent_again_is_made_twice_unless_it_has_a_key(site, stream, key, calls):
    headers = {"Idempotency-Key": f"{key} {stream}"} if key else {}
    seen = site.upstream.received
    with site.connected(site.raw(stream=stream, headers=headers)):
        lost = site.line(site.ids[-1])  # all of it is on its way: the client never reads it
    again = site.ask(stream=stream, headers=headers)
    assert_complete(again, stream)
    assert site.upstream.received == seen + calls
    ids = {lost["request_id"], site.line(again.client_id)["request_id"]}
    assert len(ids) == 2
    site.nothing_in_flight(10 * SECOND)
    site.ledger += [(line, {"end": "ok"}) for line in [lost, site.line(again.client_id)][:calls]]
    site.audit()
    assert [len(site.rows(id)) for id in sorted(ids)].count(1) == calls
