"""Triggers, what became of each upload, and which files their tasks write."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "triggers",
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("backfill", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("listed_to", sa.Text(), nullable=True),
        sa.Column("listed_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["identities.identity_id"], name=op.f("fk_triggers_owner_id")),
        sa.PrimaryKeyConstraint("trigger_id", name=op.f("pk_triggers")),
        sa.UniqueConstraint("owner_id", "name", name=op.f("uq_triggers_owner_id_name")),
    )
    op.create_table(
        "trigger_events",
        sa.Column("trigger_id", sa.String(length=36), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sequencer", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("upload", sa.LargeBinary(), nullable=True),
        sa.Column("delivery", sa.LargeBinary(), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("submitted_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["trigger_id"], ["triggers.trigger_id"], name=op.f("fk_trigger_events_trigger_id")),
        sa.PrimaryKeyConstraint("trigger_id", "identity", name=op.f("pk_trigger_events")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("trigger_events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_trigger_events_trigger_id_state_seen_at"), ["trigger_id", "state", "seen_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_trigger_events_trigger_id_submitted_at"), ["trigger_id", "submitted_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_trigger_events_trigger_id_dataset"), ["trigger_id", "dataset"], unique=False
        )
    op.create_table(
        "trigger_outputs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_trigger_outputs")),
    )


def downgrade() -> None:
    op.drop_table("trigger_outputs")
    op.drop_table("trigger_events")
    op.drop_table("triggers")
