"""Let go of what no task uses: when classes were used, objects by their places, tags by their tasks."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("classes", sa.Column("used_at", sa.Double(), server_default="0", nullable=False))
    op.execute(sa.text("UPDATE classes SET used_at = :now").bindparams(now=time.time()))
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_objects_key"), ["key"], unique=False)
    with op.batch_alter_table("task_tags", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_tags_sequence"), ["sequence"], unique=False)
    # Arguments of before: an object stays as long as the task that refers to it.
    op.execute(
        "INSERT INTO object_uses (object_id, sequence)"
        " SELECT argument_object, sequence FROM tasks WHERE argument_object IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM object_uses WHERE object_uses.object_id = tasks.argument_object"
        " AND object_uses.sequence = tasks.sequence)"
    )


def downgrade() -> None:
    with op.batch_alter_table("task_tags", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_tags_sequence"))
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_objects_key"))
    with op.batch_alter_table("classes", schema=None) as batch_op:
        batch_op.drop_column("used_at")
