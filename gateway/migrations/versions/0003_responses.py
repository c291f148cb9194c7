"""Make the table of stored responses."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "responses",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("previous", sa.String(40)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("rest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="responses_pkey"),
    )
    op.create_index("responses_previous", "responses", ["previous"])
    op.create_index("responses_expires_at", "responses", ["expires_at"])
    op.create_index("responses_key_created_at_size", "responses", ["key", "created_at", "size"])


def downgrade():
    op.drop_table("responses")
