import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from gateway.database import Database, upgrade
from gateway.errors import DependencyUnavailable, InvalidKey
from gateway.key import Key, digest, fixed_key, new_secret
from gateway.keys import KeyStore
from gateway.tables import keys

SECRET = "sk-abcdefghijkl-" + "0" * 43


class Away:
    """A database that is away, or stands before a real one and counts how often it is asked."""

    def __init__(self, database=None):
        self.database = database
        self.asked = 0

    def read(self, fn):
        self.asked += 1
        if self.database is None:
            raise DependencyUnavailable()
        return self.database.read(fn)

    write = read


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    found = Database(url)
    yield found
    found.close()


@pytest.fixture
def store(database):
    return KeyStore(database)


@pytest.fixture
def now():
    return [2_000_000_000.0]


@pytest.fixture
def process(database, now):
    """Return a function that starts another process's store; its hands turn with `now`."""

    def start(**more):
        return KeyStore(database, wall=lambda: now[0], **more)

    return start


def refused(store, *secrets):
    for secret in secrets:
        with pytest.raises(InvalidKey):
            store.verify(secret)


def test_keys_have_the_form_of_the_contract():
    made = {new_secret() for _ in range(200)}

    assert len(made) == 200
    assert all(re.fullmatch("sk-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}", secret) for secret in made)


def test_first_part_of_a_key_names_it(store):
    key, secret = store.create("mine")
    assert key.id == f"key_{secret[3:15]}"


def test_only_a_hash_of_the_key_is_stored(store, database, tmp_path):
    _, secret = store.create("mine")

    row = database.read(lambda connection: connection.execute(keys.select()).one())
    assert row.hash == digest(secret)
    database.close()
    for file in tmp_path.iterdir():
        assert secret[-43:].encode() not in file.read_bytes()


def test_new_key_works_at_once_in_every_process(store, database):
    other = KeyStore(database)
    other.refresh()

    key, secret = store.create("mine")

    assert other.verify(secret) == store.verify(secret) == key


def test_known_key_is_verified_without_the_database(store, database):
    key, secret = store.create("mine")
    counting = Away(database)
    other = KeyStore(counting)
    other.refresh()

    assert [other.verify(secret) for _ in range(3)] == [key] * 3
    assert counting.asked == 1


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "nonsense",
        SECRET + "0",
        SECRET[:-1],
        SECRET + "\n",
        SECRET.replace("a", "ä"),
        SECRET.replace("a", "\ud800"),
        SECRET.replace("a", "٣"),
        SECRET.upper(),
        "x" * 100_000,
        "\0",
    ],
)
def test_what_is_no_key_is_refused_without_the_database(secret):
    away = Away()

    with pytest.raises(InvalidKey):
        KeyStore(away).verify(secret)
    assert away.asked == 0


def test_key_that_differs_in_one_character_is_refused(store):
    _, secret = store.create("mine")
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")

    with pytest.raises(InvalidKey):
        store.verify(other)


def test_fixed_key_of_any_form_works_without_a_row_and_without_the_database():
    store = KeyStore(Away(), fixed=["sk-test", "", SECRET])

    assert store.verify("sk-test") == fixed_key("sk-test")
    assert store.verify(SECRET).name == "fixed"
    with pytest.raises(InvalidKey):
        store.verify("")


def test_fixed_key_has_an_id_from_its_hash_that_does_not_show_the_key():
    assert fixed_key(SECRET) == Key("key_Y0CbDi7ajjt6", "fixed")
    assert fixed_key("sk-test").id != fixed_key("sk-test2").id


def test_revoked_key_is_refused_everywhere_after_a_refresh(store, database):
    key, secret = store.create("mine")
    other = KeyStore(database)
    other.verify(secret)

    assert store.revoke(key.id) is True

    other.refresh()
    for each in (store, other, KeyStore(database)):
        with pytest.raises(InvalidKey):
            each.verify(secret)


def test_revoking_takes_the_id_with_and_without_its_prefix_and_only_once(store):
    first, second = store.create("a")[0], store.create("b")[0]

    assert store.revoke(first.id) and store.revoke(second.id.removeprefix("key_"))
    assert not store.revoke(first.id)
    assert store.get(first.id).revoked_at > 0


@pytest.mark.parametrize("id", ["key_000000000000", "", "key_", SECRET, "\ud800", "'; --", "\0"])
def test_unknown_id_revokes_nothing(store, id):
    assert store.revoke(id) is False
    assert store.get(id) is None


def test_key_revoked_while_it_was_being_looked_up_does_not_come_back(store, database):
    key, secret = store.create("mine")

    class RevokedMeanwhile:
        def read(self, fn):
            found = database.read(fn)
            if not store.get(key.id).revoked_at:
                store.revoke(key.id)
                other._database = database
                other.refresh()
            return found

    other = KeyStore(RevokedMeanwhile())
    for _ in range(2):
        with pytest.raises(InvalidKey):
            other.verify(secret)


def test_known_keys_outlive_the_database_by_five_minutes(store, database):
    key, secret = store.create("mine")
    now = [1000.0]
    other = KeyStore(database, fixed=["sk-test"], clock=lambda: now[0])
    other.refresh()
    other._database = Away()

    now[0] += 300
    with pytest.raises(DependencyUnavailable):
        other.refresh()
    assert (other.verify(secret), other.away_for()) == (key, 300)

    now[0] += 1
    with pytest.raises(DependencyUnavailable):
        other.verify(secret)
    assert other.verify("sk-test").name == "fixed"

    other._database = database
    other.refresh()
    assert (other.verify(secret), other.away_for()) == (key, 0)


def test_unknown_key_is_never_refused_while_the_database_is_away():
    with pytest.raises(DependencyUnavailable):
        KeyStore(Away()).verify(SECRET)


def test_revoked_key_stays_refused_while_the_database_is_away(store):
    key, secret = store.create("mine")
    store.revoke(key.id)
    store.refresh()
    store._database = Away()

    with pytest.raises(InvalidKey):
        store.verify(secret)


def test_row_deleted_by_hand_ends_its_key(store, database):
    _, kept = store.create("kept")
    key, secret = store.create("deleted")
    store.refresh()

    database.write(lambda c: c.execute(keys.delete().where(keys.c.name == "deleted")) and None)

    store.refresh()
    with pytest.raises(InvalidKey):
        store.verify(secret)
    assert store.verify(kept).name == "kept"


def test_backup_that_is_put_back_is_believed(store, database):
    key, secret = store.create("mine")
    before = database.read(lambda connection: connection.execute(keys.select()).mappings().one())
    store.revoke(key.id)
    _, later = store.create("later")
    store.refresh()

    def restore(connection):
        connection.execute(keys.delete())
        connection.execute(keys.insert().values(**before))

    database.write(restore)
    store.refresh()
    assert store.verify(secret) == key
    with pytest.raises(InvalidKey):
        store.verify(later)


def test_refresh_reads_only_what_is_new(store, database):
    for name in "abc":
        store.create(name)
    store.refresh()
    read = []

    @sa.event.listens_for(sa.engine.Engine, "do_execute")
    def remember(cursor, statement, parameters, context):
        if "keys.revision >" in statement:
            read.append(parameters)

    store.refresh()
    sa.event.remove(sa.engine.Engine, "do_execute", remember)
    assert read == [(3,)]


def test_refresh_loop_goes_on_after_errors_and_ends_when_told(caplog):
    stop, tries = threading.Event(), []

    class Broken:
        def read(self, fn):
            tries.append(1)
            if len(tries) == 3:
                stop.set()
            raise DependencyUnavailable() if len(tries) == 1 else RuntimeError("broken")

    KeyStore(Broken()).run(stop, interval=0)

    assert len(tries) == 3
    assert caplog.messages == ["the keys could not be refreshed"] * 2


def test_many_at_once_may_ask_for_the_same_new_key(store, database):
    key, secret = store.create("mine")
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(KeyStore(database).verify, [secret] * 20))

    assert found == [key] * 20


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "\x1b[31m", "\ud800", "\u202e"])
def test_name_that_cannot_be_printed_is_refused(store, name):
    with pytest.raises(ValueError, match="1 to 100 printable characters"):
        store.create(name)


def test_list_shows_every_key_in_order(store):
    made = [store.create(name)[0] for name in ("é" * 100, "b", "a")]
    store.revoke(made[1].id)

    found = store.list()
    assert [key.name for key in found] == [key.name for key in made]
    assert [key.revoked_at is None for key in found] == [True, False, True]


def test_key_expires_by_the_wall_clock_without_the_database(process, now):
    key, secret = process().create("mine", expires_at=now[0] + 60)
    known, late = process(), process()
    known.refresh()
    known._database = Away()

    now[0] += 59.9
    assert known.verify(secret) == late.verify(secret) == key
    now[0] += 0.1
    refused(known, secret)
    refused(late, secret)
    refused(process(), secret)
    assert known._database.asked == 0


def test_expiry_that_is_put_off_brings_a_key_back(process, now):
    store = process()
    key, secret = store.create("mine", expires_at=now[0])
    refused(store, secret)

    store.update(key.id, expires_at=now[0] + 1)
    store.refresh()
    assert store.verify(secret).expires_at == now[0] + 1


def test_old_secret_works_for_its_grace_and_the_new_one_at_once(process, now):
    store, other = process(), process()
    key, old = store.create("mine", rpm=5)
    other.refresh()
    rotated, new = store.rotate(key.id, grace=60)

    assert new[:15] == old[:15] and new != old
    assert (rotated.id, rotated.rpm, rotated.old_until) == (key.id, 5, now[0] + 60)
    for each in (store, other, process()):
        assert each.verify(new) == rotated
        assert each.verify(old).id == key.id

    now[0] += 60
    other._database = Away()
    for each in (store, other, process()):
        refused(each, old)
        assert each.verify(new) == rotated


def test_without_a_grace_the_old_secret_ends_with_the_next_refresh(process):
    store, other = process(), process()
    key, old = store.create("mine")
    other.refresh()
    new = store.rotate(key.id)[1]

    other.refresh()
    other._database = Away()
    refused(other, old)
    assert other.verify(new).old_until is None
    assert other._database.asked == 0


def test_each_rotation_keeps_the_grace_of_those_before_but_never_longer_than_its_own(process, now):
    store = process()
    id, first = (found := store.create("mine"))[0].id, found[1]
    second = store.rotate(id, grace=100)[1]
    third = store.rotate(id, grace=50)[1]
    store.refresh()
    assert {store.verify(secret).id for secret in (first, second, third)} == {id}

    now[0] += 49
    fourth = store.rotate(id, grace=100)[1]
    store.refresh()
    now[0] += 1
    refused(store, first, second)
    assert {store.verify(secret).id for secret in (third, fourth)} == {id}

    fifth = store.rotate(id)[1]
    store.refresh()
    refused(store, first, second, third, fourth)
    assert store.verify(fifth).id == id


def test_old_secret_ends_with_its_key(process, now):
    store = process()
    key, old = store.create("mine", expires_at=now[0] + 10)
    new = store.rotate(key.id, grace=60)[1]
    now[0] += 10
    refused(store, old, new)

    other, before = process().create("other")
    after = store.rotate(other.id, grace=60)[1]
    store.refresh()
    store.revoke(other.id)
    store.refresh()
    refused(store, before, after)
    refused(process(), before, after)


def test_secret_that_ended_while_the_key_was_looked_up_does_not_come_back(process, database):
    store = process()
    key, old = store.create("mine")

    class RotatedMeanwhile:
        def read(self, fn):
            found = database.read(fn)
            other._database = database
            store.rotate(key.id)
            other.refresh()
            return found

    other = process()
    other._database = RotatedMeanwhile()
    refused(other, old, old)


def test_update_changes_what_it_names_alone(store, database):
    bounds = {
        "expires_at": 3e9, "models": ("a", "b/*"), "endpoints": ("chat",), "rpm": 1, "tpm": 2,
        "concurrency": 3, "budget": 5 * 10**18, "period": "week", "metadata": {"team": "é"},
    }  # fmt: skip
    key, secret = store.create("mine", **bounds)
    other = KeyStore(database)
    assert other.verify(secret) == key
    assert {name: getattr(key, name) for name in bounds} == bounds

    changed = store.update(key.id, rpm=None, models=("c",), name="yours")
    other.refresh()
    assert other.verify(secret) == changed == store.get(key.id)
    expected = {**bounds, "rpm": None, "models": ("c",)}
    assert {name: getattr(changed, name) for name in bounds} == expected
    assert (changed.name, changed.created_at) == ("yours", key.created_at)


def test_bounds_that_are_taken_away_are_gone(store):
    key = store.create("mine", models=("a",), endpoints=("chat",), tpm=1, metadata={"a": "b"})[0]

    plain = store.update(key.id, models=None, endpoints=None, tpm=None, metadata=None)
    assert plain == Key(key.id, "mine", key.created_at)


def test_metadata_changes_pair_by_pair(store):
    key = store.create("mine", metadata={"a": "1", "b": "2"})[0]

    found = store.update(key.id, metadata={"b": None, "c": "3", "none": None})
    assert found.metadata == {"a": "1", "c": "3"}
    assert store.update(key.id, rpm=1).metadata == {"a": "1", "c": "3"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({str(n): "x" for n in range(17)}, "at most 16 pairs, not 1[78]"),
        ({"": "x"}, "name in metadata has 1 to 64"),
        ({"n" * 65: "x"}, "name in metadata has 1 to 64"),
        ({"n": "x" * 513}, "value in metadata has at most 512"),
        ({"n": "a\nb"}, "printable"),
    ],
)
def test_metadata_has_openai_s_bounds(store, pairs, message):
    with pytest.raises(ValueError, match=message):
        store.create("mine", metadata=pairs)
    key, secret = store.create("mine", metadata={"n" * 64: "x" * 512})
    with pytest.raises(ValueError, match=message):
        store.update(key.id, metadata=pairs)
    assert store.verify(secret) == key == store.get(key.id)


def test_bounds_of_metadata_count_what_was_there(store):
    key = store.create("mine", metadata={str(n): "x" for n in range(16)})[0]

    assert len(store.update(key.id, metadata={"0": None, "new": "x"}).metadata) == 16
    with pytest.raises(ValueError, match="not 17"):
        store.update(key.id, metadata={"0": "x"})


@pytest.mark.parametrize("id", ["key_000000000000", "", "key_", SECRET, "\ud800", "\0"])
def test_unknown_id_is_neither_updated_nor_rotated(store, id):
    assert store.update(id, rpm=1) is None
    assert store.rotate(id) is None


def test_revoked_key_is_neither_updated_nor_rotated(store):
    key, _ = store.create("mine")
    store.revoke(key.id)

    assert store.update(key.id, rpm=1) is None and store.rotate(key.id) is None
    assert store.get(key.id).rpm is None


def test_wrong_secret_of_a_known_key_is_refused_and_a_503_while_the_database_is_away(store):
    _, secret = store.create("mine")
    store.verify(secret)
    wrong = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    refused(store, wrong)

    store._database = Away()
    with pytest.raises(DependencyUnavailable):
        store.verify(wrong)


def test_secrets_whose_grace_is_over_leave_the_row(process, now, database):
    store = process()
    key = store.create("mine")[0]
    for _ in range(5):
        store.rotate(key.id, grace=60)
        now[0] += 60

    kept = database.read(lambda c: c.scalar(sa.select(keys.c.old_hashes)))
    assert len(json.loads(kept)) == 1
