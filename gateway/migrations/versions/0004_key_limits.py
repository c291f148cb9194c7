"""Give keys what they may use and how much, when they end, and their replaced secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = {
    "expires_at": sa.Double,
    "models": sa.Text,
    "endpoints": sa.Text,
    "rpm": sa.Integer,
    "tpm": sa.Integer,
    "concurrency": sa.Integer,
    "budget": sa.BigInteger,
    "period": sa.String(8),
    "metadata": sa.Text,
    "old_hashes": sa.Text,
}


def upgrade():
    for name, kind in COLUMNS.items():
        op.add_column("keys", sa.Column(name, kind))


def downgrade():
    with op.batch_alter_table("keys") as batch:
        for name in COLUMNS:
            batch.drop_column(name)
