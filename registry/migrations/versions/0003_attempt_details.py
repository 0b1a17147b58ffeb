"""Keep where each attempt ran and which environments are broken; note who wants which output from its site."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ADDED = ["node", "job_id", "block_id", "environment"]
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for column in _ADDED:
        op.add_column("attempts", sa.Column(column, sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("endpoints", sa.Column("broken", sa.JSON(), nullable=True))
    op.create_table(
        "log_requests",
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", _SEQUENCE, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("session_id", sa.String(length=36), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_log_requests")),
    )
    op.create_index(op.f("ix_log_requests_session_id"), "log_requests", ["session_id"])
    op.create_index(op.f("ix_log_requests_sequence_number"), "log_requests", ["sequence", "number"])


def downgrade() -> None:
    op.drop_table("log_requests")
    op.drop_column("endpoints", "broken")
    for column in [*_ADDED, "peak_memory_bytes"]:
        op.drop_column("attempts", column)
