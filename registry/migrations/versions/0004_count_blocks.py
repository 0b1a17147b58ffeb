"""Count blocks, and know why an endpoint is broken."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "blocks",
        sa.Column("endpoint_id", sa.String(length=36), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("session_id", sa.String(length=36), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("walltime_s", sa.Double(), nullable=False),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("most_workers", sa.Integer(), nullable=False),
        sa.Column("idle_workers", sa.Integer(), nullable=False),
        sa.Column("idle_since", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("presumed", sa.Boolean(), nullable=False),
        sa.Column("held_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("endpoint_id", "block_id", "run", name=op.f("pk_blocks")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("blocks", schema=None) as batch_op:
        batch_op.create_index(
            "ix_blocks_live",
            ["endpoint_id"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
    op.add_column("endpoints", sa.Column("problem", sa.Text(), nullable=True))
    op.add_column("endpoints", sa.Column("ports", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("endpoints", schema=None) as batch_op:
        batch_op.drop_column("ports")
        batch_op.drop_column("problem")
    op.drop_table("blocks")
