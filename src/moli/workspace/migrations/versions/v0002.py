"""Attributes tell whether a person gave them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "attributes",
        sa.Column("given", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
