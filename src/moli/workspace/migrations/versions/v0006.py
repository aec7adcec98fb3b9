"""Tunings by encoder and by the passages' language.

What was tuned before holds for the encoder that was used last, and within a language.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    none = sa.text("''")
    op.add_column("tunings", sa.Column("encoder", sa.Text(), nullable=False, server_default=none))
    column = sa.Column("passage_language", sa.String(length=8), nullable=False, server_default=none)
    op.add_column("tunings", column)
    op.execute(
        "UPDATE tunings SET passage_language = language, encoder = COALESCE("
        "(SELECT encoder FROM vectors ORDER BY passage_id DESC LIMIT 1), '')"
    )


def downgrade() -> None:
    op.drop_column("tunings", "passage_language")
    op.drop_column("tunings", "encoder")
