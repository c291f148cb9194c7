"""Every table of the gateway as SQLAlchemy describes it; `migrations` makes them in a database."""

from sqlalchemy import (
    BigInteger,
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
# order, so that whoever has seen one revision can ask for what came after it.
keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("revision", BigInteger, nullable=False),
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
    Index(None, "created_at"),
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
