"""API keys: how they are made, changed and revoked, and whose a caller's key is."""

import logging
import re
import threading
import time

import sqlalchemy as sa

from gateway import key_rows as rows
from gateway.errors import DependencyUnavailable, InvalidKey
from gateway.key import FORM, Key, digest, fixed_key, new_secret
from gateway.tables import keys

__all__ = ["TRUSTED", "Key", "KeyStore"]

log = logging.getLogger("gateway")

PUBLIC = re.compile("(?:key_)?([0-9A-Za-z]{12})")
TRUSTED = 300  # seconds that known keys go on working while the database is away


class Known:
    """What a process remembers of the keys.

    `secrets` maps a hash to (Key, the unix second at which it stops working, or None), `revisions`
    a row's id to its revision and hashes.
    """

    def __init__(self):
        self.secrets, self.revisions = {}, {}

    def take(self, entry):
        """Take over an Entry unless a newer one of its row is known."""
        before, hashes = self.revisions.get(entry.id, (-1, ()))
        if entry.revision > before:
            # A hash that is no longer the key's is kept, so that it is refused without a look-up.
            # All change in one step: other threads verify meanwhile.
            self.secrets.update({**dict.fromkeys(hashes, (None, 0)), **entry.secrets})
            self.revisions[entry.id] = entry.revision, tuple(entry.secrets)


class KeyStore:
    """Keys in the database, with a cache of their hashes that answers nearly every `verify`.

    Each process has its own. `run` keeps it fresh: what changed is felt within seconds. `clock`
    tells how long the database has been away, `wall` the unix time, for what ends by itself.
    """

    def __init__(self, database, fixed=(), clock=time.monotonic, wall=time.time):
        self._database = database
        self._clock, self._wall = clock, wall
        self._fixed = {digest(secret): fixed_key(secret) for secret in fixed if secret}
        self._known = Known()
        self._revision = -1
        self._fresh_at = clock()
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()

    def verify(self, secret):
        """Return the Key of a caller's secret; raise InvalidKey, or DependencyUnavailable."""
        # Keys are found by the hash of all of them, not compared one by one: how long that takes
        # says nothing about a stored key, since nobody can choose what a guess hashes to.
        try:
            hashed = digest(secret)
        except UnicodeEncodeError:  # Half a surrogate pair is in no key.
            raise InvalidKey() from None
        key = self._fixed.get(hashed)
        if key is not None:
            return key
        found = self._known.secrets.get(hashed)
        if found is None:
            key, end = self._look_up(secret, hashed)
            fresh = True
        else:
            key, end = found
            fresh = self._clock() - self._fresh_at <= TRUSTED
        if end is not None and end <= self._wall():
            raise InvalidKey()
        if not fresh:
            raise DependencyUnavailable()
        return key

    def create(self, name, **bounds):
        """Store a new key and return (Key, secret); `bounds` are fields of Key.

        ValueError says what is wrong with the name or the metadata.
        """
        secret = new_secret()
        row = {"id": FORM.fullmatch(secret)[1], "hash": digest(secret), "created_at": self._wall()}
        row |= rows.columns({"name": name, **bounds})

        def insert(connection):
            values = {**row, "revision": rows.next_revision(connection)}
            connection.execute(sa.insert(keys).values(values))
            return rows.key_of(connection.execute(rows.ONE, {"public": row["id"]}).one())

        return self._database.write(insert), secret

    def list(self):
        """Return every key in the database, the revoked ones too, the oldest first."""
        return self._database.read(lambda c: [rows.key_of(row) for row in c.execute(rows.ALL)])

    def get(self, id):
        """Return one key by its public id, with or without `key_`; None if there is none."""
        named = PUBLIC.fullmatch(id)
        row = named and self._row(named[1])
        return row and rows.key_of(row)

    def working(self, id):
        """Return the Key of a public id if it works now, else None; raise DependencyUnavailable."""
        fixed = [key for key in self._fixed.values() if key.id == id]
        key = fixed[0] if fixed else self.get(id)
        return key if key is not None and key.state(self._wall()) == "active" else None

    def update(self, id, metadata=(), **changes):
        """Change fields of a key and return it; None if no key works by this id.

        `metadata` are pairs to change, one with None to take away; None takes all of them away.
        ValueError says what is wrong with the name or the metadata.
        """

        def change(row):
            pairs = {} if metadata is None else {**rows.key_of(row).metadata, **dict(metadata)}
            kept = {name: value for name, value in pairs.items() if value is not None}
            return rows.columns({"metadata": kept, **changes})

        return self._change(id, change)

    def rotate(self, id, grace=0):
        """Give a key a new secret and return (Key, secret); None if no key works by this id.

        Whatever secrets it has had work for `grace` seconds more at most.
        """
        named = PUBLIC.fullmatch(id)
        secret = new_secret(named and named[1])

        def change(row):
            return {"hash": digest(secret), "old_hashes": rows.replaced(row, self._wall(), grace)}

        key = self._change(id, change)
        return key and (key, secret)

    def revoke(self, id):
        """Revoke a key by its public id, with or without `key_`; tell whether that changed it."""
        return self._change(id, lambda row: {"revoked_at": self._wall()}) is not None

    def refresh(self):
        """Take over what changed in the database; raise DependencyUnavailable."""
        with self._refreshing:
            now = self._clock()
            entries, top, all_of_them = self._database.read(self._changes)
            with self._lock:
                known = Known() if all_of_them else self._known
                for entry in entries:
                    known.take(entry)
                self._known, self._revision = known, top
            self._fresh_at = now

    def away_for(self):
        """Return the seconds since the database was last heard of."""
        return self._clock() - self._fresh_at

    def run(self, stop, interval=1.0):
        """Refresh every `interval` seconds until the event `stop` is set."""
        while True:
            try:
                self.refresh()
            except DependencyUnavailable:
                pass  # The database has logged it, and away_for() tells how long.
            except Exception:
                log.exception("the keys could not be refreshed")
            if stop.wait(interval):
                return

    def _row(self, public):
        return self._database.read(lambda c: c.execute(rows.ONE, {"public": public}).first())

    def _change(self, id, change):
        """Write what `change` makes of a row unless it is revoked; return its Key or None."""
        named = PUBLIC.fullmatch(id)
        public = {"public": named and named[1]}

        def update(connection):
            # The revision comes first: it keeps other writers out of what is then read.
            revision = rows.next_revision(connection)
            row = connection.execute(rows.ONE, public).first()
            if row is None or row.revoked_at is not None:
                return None
            changes = {**change(row), "revision": revision}
            connection.execute(rows.CHANGE.values(changes), public)
            return rows.key_of(connection.execute(rows.ONE, public).one())

        return self._database.write(update) if named else None

    def _look_up(self, secret, hashed):
        """Ask the database at once, because a key just made has to work with every worker."""
        named = FORM.fullmatch(secret)
        row = named and self._row(named[1])
        if not row:
            raise InvalidKey()
        with self._lock:
            # The row may have been read just before it was changed, and refresh may have seen
            # that meanwhile: then what is newer stays.
            self._known.take(rows.entry(row))
            found = self._known.secrets.get(hashed)
        if found is None:
            raise InvalidKey()
        return found

    def _changes(self, connection):
        """Return (entries, the last revision, whether the entries are all there are).

        All are read again when some are gone or revisions went back: that is what a backup put
        back or a row deleted by hand looks like.
        """
        # The summary comes first: what is written between the two is then read once more next time,
        # and no revision is ever passed over.
        top, count = connection.execute(rows.SUMMARY).one()
        new = connection.execute(rows.NEWER, {"seen": self._revision}).all()
        known = self._known.revisions
        whole = top < self._revision or count != len(known) + sum(r.id not in known for r in new)
        if whole:
            new = connection.execute(rows.NEWER, {"seen": -1}).all()
        return [rows.entry(row) for row in new], top, whole
