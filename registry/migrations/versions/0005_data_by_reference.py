"""Objects that tasks refer to, locations of files, and what the caches of endpoints hold."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("objects", sa.Column("sha256", sa.String(length=64), nullable=True))
    op.add_column("objects", sa.Column("content", sa.String(length=8), server_default="value", nullable=False))
    op.add_column("objects", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("objects", sa.Column("kept", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("objects", sa.Column("upload_id", sa.Text(), nullable=True))
    op.add_column("objects", sa.Column("members", sa.Integer(), server_default="0", nullable=False))
    op.add_column("tasks", sa.Column("files", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("tasks", sa.Column("outputs", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("tasks", sa.Column("result_objects", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("tasks", sa.Column("input_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "object_uses",
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", Sequence, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("object_id", "sequence", name=op.f("pk_object_uses")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("object_uses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_object_uses_sequence"), ["sequence"], unique=False)
    op.create_table(
        "locations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("readers", sa.JSON(), nullable=False),
        sa.Column("writers", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["identities.identity_id"], name=op.f("fk_locations_owner_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_locations")),
    )
    op.create_table(
        "holdings",
        sa.Column("endpoint_id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", "digest", name=op.f("pk_holdings")),
        sqlite_with_rowid=False,
    )
    # Segments of before hold results; those of each task that ended are counted.
    op.execute(
        "UPDATE objects SET members ="
        " (SELECT count(*) FROM tasks WHERE tasks.location_object = objects.object_id)"
        " WHERE kind = 'segment'"
    )


def downgrade() -> None:
    op.drop_table("holdings")
    op.drop_table("locations")
    op.drop_table("object_uses")
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        for name in ("input_bytes", "result_objects", "outputs", "files"):
            batch_op.drop_column(name)
    with op.batch_alter_table("objects", schema=None) as batch_op:
        for name in ("members", "upload_id", "kept", "name", "content", "sha256"):
            batch_op.drop_column(name)
