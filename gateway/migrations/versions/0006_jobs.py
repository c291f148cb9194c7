"""Make the table of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("endpoint", sa.String(16), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(40), nullable=False),
        sa.Column("background", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("place", sa.Double(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(40)),
        sa.Column("lease_until", sa.Double()),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("completed_at", sa.Double()),
        sa.Column("cancelled_at", sa.Double()),
        sa.Column("expires_at", sa.Double()),
        sa.Column("result_status", sa.Integer()),
        sa.Column("usage", sa.LargeBinary()),
        sa.Column("error", sa.LargeBinary()),
        sa.Column("metadata", sa.LargeBinary()),
        sa.Column("payload", sa.LargeBinary()),
        sa.Column("result", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
    )
    op.create_index("jobs_status_place_not_before", "jobs", ["status", "place", "not_before"])
    op.create_index("jobs_key_status_place", "jobs", ["key", "status", "place"])
    op.create_index("jobs_key_created_at_id", "jobs", ["key", "created_at", "id"])
    op.create_index("jobs_expires_at", "jobs", ["expires_at"])


def downgrade():
    op.drop_table("jobs")
