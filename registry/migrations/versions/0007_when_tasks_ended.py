"""Find the tasks that ended of late without reading the others."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ENDED = sa.text("ended_at IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_tasks_ended", "tasks", ["ended_at"], sqlite_where=_ENDED, postgresql_where=_ENDED)


def downgrade() -> None:
    op.drop_index("ix_tasks_ended", table_name="tasks")
