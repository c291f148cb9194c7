"""API keys: how they look, how they are made and revoked, and whose a caller's key is."""

import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa

from gateway.errors import DependencyUnavailable, InvalidKey
from gateway.tables import keys

log = logging.getLogger("gateway")

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = re.compile("sk-([0-9A-Za-z]{12})-[0-9A-Za-z]{43}")
PUBLIC = re.compile("(?:key_)?([0-9A-Za-z]{12})")
NAME = 100  # most characters of a key's name
SUMMARY = sa.select(sa.func.coalesce(sa.func.max(keys.c.revision), -1), sa.func.count(keys.c.id))
TRUSTED = 300  # seconds that known keys go on working while the database is away


@dataclass(frozen=True, slots=True)
class Key:
    """One key without its secret. `id` is public (`key_` and 12 characters), times unix seconds."""

    id: str
    name: str
    created_at: float | None = None
    revoked_at: float | None = None


def digest(secret):
    """Return what is kept of a key: the SHA-256 of all of it, in hex."""
    return sha256(secret.encode()).hexdigest()


def new_secret():
    """Return a new key: `sk-`, 12 characters that name it, and 256 random bits in 43 more."""
    name = "".join(secrets.choice(BASE62) for _ in range(12))
    return f"sk-{name}-{_base62(secrets.randbits(256), 43)}"


def fixed_key(secret):
    """Return the Key of one that has no row; its id comes from its hash."""
    return Key("key_" + _base62(int(digest(secret), 16), 12), "fixed")


def _base62(number, length):
    found = ""
    for _ in range(length):
        number, rest = divmod(number, 62)
        found = BASE62[rest] + found
    return found


class KeyStore:
    """Keys in the database, with a cache of their hashes that answers nearly every `verify`.

    Each process has its own. `run` keeps it fresh: a revoked key is refused within seconds.
    """

    def __init__(self, database, fixed=(), clock=time.monotonic):
        self._database = database
        self._clock = clock
        self._fixed = {digest(secret): fixed_key(secret) for secret in fixed if secret}
        self._known = {}
        self._revoked = set()
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
        key = self._known.get(hashed)
        if key is None:
            return self._look_up(secret, hashed)
        if self._clock() - self._fresh_at > TRUSTED:
            raise DependencyUnavailable()
        return key

    def create(self, name):
        """Store a new key and return (Key, secret); ValueError says what is wrong with the name."""
        if not (0 < len(name) <= NAME and name.isprintable() and name.strip()):
            raise ValueError(f"A key's name has 1 to {NAME} printable characters.")
        secret = new_secret()
        public, created_at = FORM.fullmatch(secret)[1], time.time()
        row = {"id": public, "name": name, "hash": digest(secret), "created_at": created_at}

        def insert(connection):
            connection.execute(keys.insert().values(revision=_next_revision(connection), **row))

        self._database.write(insert)
        return Key("key_" + public, name, created_at), secret

    def list(self):
        """Return every key in the database, the revoked ones too, the oldest first."""
        query = keys.select().order_by(keys.c.created_at, keys.c.id)
        return [_key(row) for row in self._database.read(lambda c: c.execute(query).all())]

    def get(self, id):
        """Return one key by its public id, with or without `key_`; None if there is none."""
        named = PUBLIC.fullmatch(id)
        if not named:
            return None
        query = keys.select().where(keys.c.id == named[1])
        row = self._database.read(lambda c: c.execute(query).first())
        return row and _key(row)

    def revoke(self, id):
        """Revoke a key by its public id, with or without `key_`; tell whether that changed it."""
        named = PUBLIC.fullmatch(id)
        if not named:
            return False
        mine = (keys.c.id == named[1]) & keys.c.revoked_at.is_(None)

        def update(connection):
            changes = {"revoked_at": time.time(), "revision": _next_revision(connection)}
            return connection.execute(keys.update().where(mine).values(changes)).rowcount == 1

        return self._database.write(update)

    def refresh(self):
        """Take over what changed in the database; raise DependencyUnavailable."""
        with self._refreshing:
            now = self._clock()
            self._take(self._database.read(self._changes))
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

    def _look_up(self, secret, hashed):
        """Ask the database at once, because a key just made has to work with every worker."""
        if hashed in self._revoked or not FORM.fullmatch(secret):
            raise InvalidKey()
        query = keys.select().where(keys.c.hash == hashed)
        row = self._database.read(lambda c: c.execute(query).first())
        if row is None or row.revoked_at is not None:
            raise InvalidKey()
        with self._lock:
            # The row may have been read just before it was revoked, and refresh may have seen
            # that meanwhile: then it must not come back.
            if hashed in self._revoked:
                raise InvalidKey()
            return self._known.setdefault(hashed, _key(row))

    def _changes(self, connection):
        """Return (rows by hash, the last revision, whether the rows are all there are).

        All are read again when some are gone or revisions went back: that is what a backup put
        back or a row deleted by hand looks like.
        """
        # The summary comes first: what is written between the two is then read once more next time,
        # and no revision is ever passed over.
        top, count = connection.execute(SUMMARY).one()
        rows = _by_hash(connection, keys.c.revision > self._revision)
        known, revoked = self._known, self._revoked
        new = sum(hashed not in known and hashed not in revoked for hashed in rows)
        if top >= self._revision and count == len(known) + len(revoked) + new:
            return rows, top, False
        return _by_hash(connection, sa.true()), top, True

    def _take(self, changes):
        rows, top, all_of_them = changes
        with self._lock:
            known, revoked = ({}, set()) if all_of_them else (self._known, self._revoked)
            for hashed, key in rows.items():
                if key.revoked_at is None:
                    known[hashed] = key
                else:
                    known.pop(hashed, None)
                    revoked.add(hashed)
            self._known, self._revoked, self._revision = known, revoked, top


def _by_hash(connection, condition):
    return {row.hash: _key(row) for row in connection.execute(keys.select().where(condition))}


def _key(row):
    return Key("key_" + row.id, row.name, row.created_at, row.revoked_at)


def _next_revision(connection):
    """Return one more than any revision, while no other transaction can write keys."""
    if connection.dialect.name == "postgresql":
        # SQLite has a single writer anyway. Readers of the table are not held up by this lock.
        connection.execute(sa.text("LOCK TABLE keys IN EXCLUSIVE MODE"))
    top = connection.execute(sa.select(sa.func.max(keys.c.revision))).scalar()
    return (top or 0) + 1
