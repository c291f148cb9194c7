"""What a key is looked up by: nothing of it reaches a statement, nothing compares it."""

import contextlib

import pytest
import sqlalchemy as sa

from gateway import database as module
from gateway.database import Database
from gateway.errors import InvalidKey
from gateway.key import FORM
from gateway.keys import KeyStore
from tests.corpora.naughty_strings import NAUGHTY
from tests.serving import KEY

HOSTILE = [
    "' OR '1'='1", '";--', "sk-\x00", "'; DROP TABLE keys; --",
    "sk-' UNION SELECT hash FROM keys--", "a" * 8192, "%", "_" * 12,
    f"sk-{'0' * 12}-{'0' * 42}'", f"sk-{'%' * 12}-{'0' * 43}", *NAUGHTY,
]  # fmt: skip
FIXED = "fixed-" + "f" * 40


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('keys') / 'gateway.db'}"
    module.upgrade(url)
    found = Database(url)
    yield found
    found.close()


@pytest.fixture
def store(database):
    return KeyStore(database, [FIXED])


@contextlib.contextmanager
def statements():
    """Give a list that every statement's text and parameters are added to."""
    found = []

    def note(connection, cursor, statement, parameters, context, many):
        found.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)


def refuse(store, secret):
    with pytest.raises(InvalidKey):
        store.verify(secret)


def test_what_is_no_key_asks_the_database_nothing(store):
    with statements() as found:
        for secret in HOSTILE:
            refuse(store, secret)
    assert found == []


def test_guess_tells_the_database_its_public_part_alone_and_as_a_parameter(store):
    _, secret = store.create("mine")
    public = FORM.fullmatch(secret)[1]
    with statements() as found:
        refuse(KeyStore(store._database), f"sk-{public}-{'0' * 43}")
    asked = [pair for pair in found if "keys" in pair[0]]
    assert len(asked) == 1
    for statement, parameters in found:
        assert public not in statement and "0" * 43 not in statement
        assert "0" * 43 not in repr(parameters)
    assert public in repr(asked[0][1])


class Watched(str):
    """A secret that must not be compared, ordered or used to look something up as it is."""

    def forbidden(self, *other):
        raise AssertionError("a secret was compared")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = forbidden
    __contains__ = startswith = endswith = find = forbidden


def test_keys_are_found_by_their_hash_and_compared_with_none(store):
    key, secret = store.create("mine")
    public = FORM.fullmatch(secret)[1]
    known, unknowing = store, KeyStore(store._database, [FIXED])
    known.refresh()
    for each in (known, unknowing):
        assert each.verify(Watched(secret)).id == key.id
        assert each.verify(Watched(FIXED)).name == "fixed"
        for wrong in (f"sk-{public}-{'0' * 43}", FIXED[:-1], secret[:-1], "x", "", *HOSTILE[:5]):
            refuse(each, Watched(wrong))


def test_keys_that_begin_alike_are_told_apart_wherever_they_are_remembered(store):
    key, secret = store.create("mine")
    store.refresh()
    for cut in range(20, len(secret)):
        other = "1" if secret[cut] != "1" else "2"
        refuse(store, secret[:cut] + other + secret[cut + 1 :])
        refuse(store, secret[:cut])
    assert store.verify(secret) == key


def test_no_guess_is_remembered(store):
    store.refresh()
    before = len(store._known.secrets), len(store._known.revisions)
    for number in range(2000):
        refuse(store, f"sk-{number:012}-{'0' * 43}")
        refuse(store, f"guess-{number}")
    assert (len(store._known.secrets), len(store._known.revisions)) == before


def test_stored_hash_of_a_key_is_no_key(store, database):
    for secret in (KEY, store.create("mine")[1]):
        with contextlib.suppress(InvalidKey):
            store.verify(secret)
    hashes = database.read(lambda c: c.scalars(sa.text("select hash from keys")).all())
    assert hashes
    for found in [*hashes, *store._fixed]:
        for told in (found, f"sk-{found}", f"sk-{found[:12]}-{found[:43]}", found.upper()):
            refuse(store, told)
