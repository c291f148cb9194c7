import pytest

from gateway.database import Database, upgrade


@pytest.fixture
def url(tmp_path, monkeypatch):
    """The database that commands use: none is there yet."""
    found = f"sqlite:///{tmp_path}/var/gateway.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", found)
    return found


@pytest.fixture
def database(url):
    upgrade(url)
    found = Database(url)
    yield found
    found.close()
