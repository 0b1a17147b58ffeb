"""Keep what the router has learned of its sites."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "site_model",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("learned", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("site_model")
