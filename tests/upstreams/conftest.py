"""What the tests around upstreams share."""

import pytest

from gateway import watch
from gateway.upstreams.transport import Adapter
from tests.upstream import more_upstreams  # noqa: F401
from tests.upstreams.calling import Calls


@pytest.fixture
def adapter():
    made = Adapter(connect=1)
    yield made
    made.close()


@pytest.fixture
def guard():
    made = watch.Watch()
    yield made
    made.close()


@pytest.fixture
def calls():
    """Makes upstreams and calls; afterwards nothing more may be watched than before."""
    made, before = Calls(), set(watch._sweeper().watches)
    yield made
    made.close()
    assert watch._sweeper().watches <= before
