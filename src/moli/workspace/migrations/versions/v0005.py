"""A column for the times of recordings."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("documents", sa.Column("times", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("documents", "times")
