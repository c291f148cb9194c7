"""The databases that a contract holds over: that of a class is named by its `dialect`."""

import pytest

from gateway.database import Database, upgrade
from tests.test_postgres import server, url  # noqa: F401


@pytest.fixture
def address(request, tmp_path):
    """The URL of a database of the test's own, without any tables."""
    if request.cls.dialect == "postgresql":
        return request.getfixturevalue("url")
    return f"sqlite:///{tmp_path}/gateway.db"


@pytest.fixture
def database(address):
    """A migrated Database."""
    upgrade(address)
    found = Database(address)
    yield found
    found.close()
