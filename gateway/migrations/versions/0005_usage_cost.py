"""Give usage its cost, make each request's row its only one, and sum up the hours."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost")
# The one that was written first is kept; a request was written again only where the database had
# seemed away.
FIRST = 'DELETE FROM "usage" WHERE id NOT IN (SELECT min(id) FROM "usage" GROUP BY request_id)'
FILL = """
INSERT INTO usage_totals (kind, name, hour, requests, {columns})
SELECT kind, name, hour, count(*), {sums} FROM (
    SELECT '{kind}' AS kind, coalesce({name}, '') AS name,
        CAST(floor(created_at / 3600) AS BIGINT) * 3600 AS hour, {columns}
    FROM "usage"
) AS found GROUP BY kind, name, hour
"""


def upgrade():
    op.add_column("usage", sa.Column("cost", sa.BigInteger()))
    op.execute(FIRST)
    op.create_index("usage_request_id", "usage", ["request_id"], unique=True)
    op.create_table(
        "usage_totals",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger()) for name in COUNTS),
        sa.PrimaryKeyConstraint("kind", "name", "hour", name="usage_totals_pkey"),
        sqlite_with_rowid=False,
    )
    fill("key", '"key"')
    fill("model", "model")
    op.create_index("usage_totals_hour", "usage_totals", ["hour"])


def fill(kind, name):
    sums = ", ".join(f"sum({column})" for column in COUNTS)
    statement = FILL.format(kind=kind, name=name, columns=", ".join(COUNTS), sums=sums)
    if op.get_bind().dialect.name == "sqlite":  # it may lack floor(), and its CAST cuts anyway
        statement = statement.replace("floor(created_at / 3600)", "created_at / 3600")
    op.execute(statement)


def downgrade():
    op.drop_table("usage_totals")
    op.drop_index("usage_request_id", "usage")
    op.drop_column("usage", "cost")
