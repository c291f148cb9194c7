"""Make the tables of recordings and idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "recordings",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("end", sa.String(16)),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", "part", name="recordings_pkey"),
    )
    op.create_index("recordings_expires_at", "recordings", ["expires_at"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("endpoint", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("recording", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("lease_until", sa.Double()),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", "endpoint", "name", name="idempotency_pkey"),
    )
    op.create_index("idempotency_owner", "idempotency", ["owner"])
    op.create_index("idempotency_expires_at", "idempotency", ["expires_at"])


def downgrade():
    op.drop_table("idempotency")
    op.drop_table("recordings")
