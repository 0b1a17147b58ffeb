"""Keep what tasks need of their workers, and what endpoints have."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADDED = {"classes": "requirements", "endpoints": "offering", "functions": "requirements"}


def upgrade() -> None:
    for table, column in _ADDED.items():
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))


def downgrade() -> None:
    for table, column in _ADDED.items():
        op.drop_column(table, column)
