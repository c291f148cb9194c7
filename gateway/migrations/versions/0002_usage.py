"""Make the table of usage."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "usage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("request_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(16)),
        sa.Column("endpoint", sa.String(16)),
        sa.Column("model", sa.Text()),
        sa.Column("upstream", sa.Text()),
        sa.Column("attempts", sa.Text()),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("end", sa.String(16), nullable=False),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("cached_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("usage_source", sa.String(16), nullable=False),
        sa.Column("ttft_ms", sa.Integer()),
        sa.Column("total_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="usage_pkey"),
    )
    op.create_index("usage_created_at", "usage", ["created_at"])


def downgrade():
    op.drop_table("usage")
