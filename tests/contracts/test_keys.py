"""What the keys promise over every database."""

import threading

import pytest

from gateway import errors
from gateway.database import Database
from gateway.key import Key
from gateway.keys import KeyStore

BOUNDS = {
    "expires_at": 4e9, "models": ("a", "vendor/*"), "endpoints": ("chat", "embeddings"),
    "rpm": 1, "tpm": 10**9, "concurrency": 3, "budget": 10**18, "period": "month",
    "metadata": {"team": "é \\u0000 😀"},
}  # fmt: skip


def works(store, secret):
    try:
        store.verify(secret)
    except errors.InvalidKey:
        return False
    return True


class KeysContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def now(self):
        return [2_000_000_000.0]

    @pytest.fixture
    def store(self, database, now):
        return KeyStore(database, wall=lambda: now[0])

    @pytest.fixture
    def other(self, store, now):
        """The store of another process."""
        found = Database(store._database.url)
        yield KeyStore(found, wall=lambda: now[0])
        found.close()

    def test_key_is_known_everywhere_as_it_was_made(self, store, other, now):
        key, secret = store.create("mine", **BOUNDS)

        assert key == Key(key.id, "mine", now[0], **BOUNDS)
        assert other.verify(secret) == other.get(key.id) == key
        assert other.list() == [key]

    def test_update_is_seen_by_the_other_process_after_a_refresh(self, store, other):
        key, secret = store.create("mine", **BOUNDS)
        other.verify(secret)

        changed = store.update(key.id, rpm=None, budget=5, period="day", metadata={"new": "1"})
        other.refresh()
        assert other.verify(secret) == changed
        assert (changed.rpm, changed.budget, changed.period, changed.tpm) == (None, 5, "day", 10**9)
        assert changed.metadata == {**BOUNDS["metadata"], "new": "1"}
        plain = other.update(key.id, **dict.fromkeys(BOUNDS))
        store.refresh()
        assert store.verify(secret) == plain == Key(key.id, "mine", key.created_at)

    def test_old_and_new_secret_work_through_the_grace_then_the_new_alone(self, store, other, now):
        key, old = store.create("mine", rpm=7)
        other.verify(old)
        rotated, new = store.rotate(key.id, grace=60)

        for refreshed in (False, True):
            for each in (store, other):
                assert each.verify(new) == rotated and works(each, old)
                if not refreshed:
                    each.refresh()
        now[0] += 60
        for each in (store, other):
            assert works(each, new) and not works(each, old)
        assert (rotated.id, rotated.rpm) == (key.id, 7)

    def test_secret_replaced_without_a_grace_ends_with_a_refresh(self, store, other):
        key, old = store.create("mine")
        other.verify(old)
        new = store.rotate(key.id)[1]

        other.refresh()
        assert works(other, new) and not works(other, old)

    def test_key_expires(self, store, other, now):
        key, secret = store.create("mine", expires_at=now[0] + 1)
        assert works(store, secret) and works(other, secret)
        now[0] += 1
        assert not works(store, secret) and not works(other, secret)

    def test_revoked_key_ends_with_all_its_secrets(self, store, other):
        key, old = store.create("mine")
        new = store.rotate(key.id, grace=60)[1]
        assert works(other, old) and works(other, new)

        assert store.revoke(key.id) and not other.revoke(key.id)
        other.refresh()
        assert not works(other, old) and not works(other, new)
        assert other.update(key.id, rpm=1) is None and other.rotate(key.id) is None

    def test_name_and_metadata_out_of_bounds_leave_the_row_alone(self, store):
        key = store.create("mine", **BOUNDS)[0]
        for changes in ({"name": ""}, {"metadata": {str(n): "" for n in range(16)}}):
            with pytest.raises(ValueError):
                store.update(key.id, rpm=9, **changes)
        assert store.get(key.id) == key

    def test_updates_at_once_all_take_effect(self, store, other):
        key, secret = store.create("mine")
        done, faults = threading.Event(), []

        def work(mine, first):
            try:
                for number in range(first, first + 4):
                    assert mine.update(key.id, metadata={f"n{number}": str(number)})
            except BaseException as exc:
                faults.append(exc)

        def watch():
            while not done.is_set():
                other.refresh()

        threads = [
            threading.Thread(target=work, args=(mine, first))
            for mine, first in [(store, 0), (other, 4), (store, 8), (other, 12)]
        ]
        watcher = threading.Thread(target=watch)
        for thread in (watcher, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        watcher.join()

        other.refresh()
        assert faults == []
        assert other.verify(secret).metadata == {f"n{n}": str(n) for n in range(16)}

    def test_rotations_at_once_leave_one_secret_and_every_grace(self, store, other, now):
        key, first = store.create("mine")
        made = [first]

        def work(mine):
            for _ in range(5):
                made.append(mine.rotate(key.id, grace=60)[1])

        threads = [threading.Thread(target=work, args=(mine,)) for mine in (store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        other.refresh()
        assert len(made) == 11 and all(works(other, secret) for secret in made)
        now[0] += 60
        assert sum(works(other, secret) for secret in made) == 1


class TestSQLite(KeysContract):
    dialect = "sqlite"


class TestPostgreSQL(KeysContract):
    dialect = "postgresql"
