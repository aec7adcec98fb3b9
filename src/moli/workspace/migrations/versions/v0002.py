"""A column for whether an attribute of a document came from a user."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "attributes",
        sa.Column("given", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
