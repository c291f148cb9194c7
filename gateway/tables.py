"""Every table of the gateway as SQLAlchemy describes it; `migrations` makes them in a database."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

# Constraints have names so that a later migration can change them.
metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

# Times are unix seconds. Every write gives its row a revision higher than any before, in commit
# order, so that whoever has seen one revision can ask for what came after it. `models`,
# `endpoints` and `metadata` are JSON, and null where nothing bounds the key; `budget` is nano-USD.
# `old_hashes` maps the secrets that were replaced, in JSON, to when they stop working.
keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("revision", BigInteger, nullable=False),
    Column("expires_at", Double),
    Column("models", Text),
    Column("endpoints", Text),
    Column("rpm", Integer),
    Column("tpm", Integer),
    Column("concurrency", Integer),
    Column("budget", BigInteger),
    Column("period", String(8)),
    Column("metadata", Text),
    Column("old_hashes", Text),
    Index(None, "revision"),
)

# One row an exchange. Counts that nobody knows are null; `usage_source` says who counted.
usage = Table(
    "usage",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("request_id", String(40), nullable=False),
    Column("key", String(16)),
    Column("endpoint", String(16)),
    Column("model", Text),
    Column("upstream", Text),
    Column("attempts", Text),
    Column("status", Integer, nullable=False),
    Column("code", Text),
    Column("end", String(16), nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("usage_source", String(16), nullable=False),
    Column("ttft_ms", Integer),
    Column("total_ms", Integer, nullable=False),
    Column("cost", BigInteger),
    Index(None, "created_at"),
    Index(None, "request_id", unique=True),
)

# The sums of `usage` by key and by model (`kind`) for each hour, which begins at the unix second
# `hour`; kept in the transaction that inserts a row. A sum is null where no row knew its part.
# What a key has spent before the oldest row that is kept is summed up at the hour 0.
usage_totals = Table(
    "usage_totals",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost", BigInteger),
    Index(None, "hour"),
    sqlite_with_rowid=False,  # its key holds all, so that a report reads it in one go
)

# One row a stored response, as JSON: the items that its request added, the items that were
# answered, and the rest of the Response object. `previous` is the row with the turn before it;
# none if there was none, or if `input` holds all that went before. `size` is in bytes.
responses = Table(
    "responses",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("key", String(16), nullable=False),
    Column("previous", String(40)),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("size", Integer, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("output", LargeBinary, nullable=False),
    Column("rest", LargeBinary, nullable=False),
    Index(None, "previous"),
    Index(None, "expires_at"),
    Index(None, "key", "created_at", "size"),
)

# What clients were sent, in rows that are only ever added: `part` counts a recording's rows from 0
# (-1 is the head of an answer), `seq` is the ordinal of the first event that ends in the row, and
# `count` how many end in it: a large event takes several rows, and only its last one counts it.
# `end` stands in the last row and says how it ended.
recordings = Table(
    "recordings",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("end", String(16)),
    Column("expires_at", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "expires_at"),
)

# One row a call that came with an Idempotency-Key (`name`), scoped by API key and endpoint. While
# it runs it has an owner, a process, with a lease; afterwards its recording is what is replayed.
idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("endpoint", String(16), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("recording", String(40), nullable=False),
    Column("owner", String(32)),
    Column("lease_until", Double),
    Column("expires_at", Double, nullable=False),
    Index(None, "owner"),
    Index(None, "expires_at"),
)

# One row a job; what is JSON is bytes, the large ones last, so that lists pass over them.
# `place` says where in the queue it stands and `not_before` until when it is passed over.
# `claims` counts how often it was taken and is its owner's fence, `attempts` how often it was
# really tried. `answered`: an upstream has begun to answer; `cancel`: somebody wants it to end.
# Until it has ended, `expires_at` is null.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("key", String(16), nullable=False),
    Column("endpoint", String(16), nullable=False),
    Column("model", Text, nullable=False),
    Column("request_id", String(40), nullable=False),
    Column("background", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("place", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("worker", String(40)),
    Column("lease_until", Double),
    Column("answered", Boolean, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("completed_at", Double),
    Column("cancelled_at", Double),
    Column("expires_at", Double),
    Column("result_status", Integer),
    Column("usage", LargeBinary),
    Column("error", LargeBinary),
    Column("metadata", LargeBinary),
    Column("payload", LargeBinary),
    Column("result", LargeBinary),
    Index(None, "status", "place", "not_before"),
    Index(None, "key", "status", "place"),
    Index(None, "key", "created_at", "id"),
    Index(None, "expires_at"),
)
