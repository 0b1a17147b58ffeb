"""The tables. Times are seconds since the epoch (UTC) by the database's clock; ids are UUID text."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = sa.String(36)
Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows by itself only for a column of type INTEGER."""
Time: sa.Double[float] = sa.Double()
QUEUED: sa.ColumnElement[str] = sa.literal_column("'queued'", sa.String)
"""Written out in statements: a prepared statement uses the partial index on queued tasks only then."""

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("identity_id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Time, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_id", Id, primary_key=True),
    sa.Column("identity_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("endpoint_id", Id),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("revoked_at", Time),
)

functions = sa.Table(
    "functions",
    metadata,
    sa.Column("function_id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("serializer", sa.String(8), nullable=False),
    sa.Column("code", sa.LargeBinary, nullable=False),
    sa.Column("modules", sa.LargeBinary, nullable=False),
    sa.Column("python_version", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("requirements", sa.Text),
    sa.Column("registered_at", Time, nullable=False),
    sa.Index(None, "owner_id", "name", "registered_at"),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("endpoint_id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("environments", sa.JSON, nullable=False),
    sa.Column("offering", sa.Text),
    sa.Column("broken", sa.JSON(none_as_null=True)),
    sa.Column("workers", sa.Integer, nullable=False, default=0),
    sa.Column("idle_workers", sa.Integer, nullable=False, default=0),
    sa.Column("session_id", Id),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("problem", sa.Text),
    sa.Column("ports", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("owner_id", "name"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", Id, primary_key=True),
    sa.Column("endpoint_id", Id, sa.ForeignKey("endpoints.endpoint_id"), nullable=False),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("opened_at", Time, nullable=False),
    sa.Column("last_seen_at", Time, nullable=False),
    sa.UniqueConstraint("endpoint_id", "nonce"),
)
sa.Index(
    "ix_sessions_unsettled",
    sessions.c.last_seen_at,
    sqlite_where=sessions.c.state.in_(["active", "fenced"]),
    postgresql_where=sessions.c.state.in_(["active", "fenced"]),
)

blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("endpoint_id", Id, primary_key=True),
    sa.Column("block_id", sa.Text, primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("session_id", Id, nullable=False),
    sa.Column("shape", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("walltime_s", sa.Double, nullable=False),
    sa.Column("requested_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("ready_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("most_workers", sa.Integer, nullable=False),
    sa.Column("idle_workers", sa.Integer, nullable=False),
    sa.Column("idle_since", Time),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("presumed", sa.Boolean, nullable=False),
    sa.Column("held_until", Time),
    sqlite_with_rowid=False,
)
"""Runs of blocks. They outlive their endpoint: what was spent stays spent."""
sa.Index(
    "ix_blocks_live",
    blocks.c.endpoint_id,
    sqlite_where=blocks.c.ended_at.is_(None),
    postgresql_where=blocks.c.ended_at.is_(None),
)

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("endpoints", sa.JSON, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
)

classes = sa.Table(
    "classes",
    metadata,
    sa.Column("class_id", Sequence, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("function_id", Id, nullable=False),
    sa.Column("target_kind", sa.String(16), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("requirements", sa.Text),
    sa.Column("used_at", Time, nullable=False, server_default="0"),
)

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("group_id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("object_id", Id, primary_key=True),
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("endpoint_id", Id),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("sha256", sa.String(64)),
    sa.Column("content", sa.String(8), nullable=False, server_default="value"),
    sa.Column("name", sa.Text),
    sa.Column("kept", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("upload_id", sa.Text),
    sa.Column("members", sa.Integer, nullable=False, server_default="0"),
    sa.Index(None, "key"),
)
sa.Index(
    "ix_objects_unreferenced",
    objects.c.expires_at,
    sqlite_where=objects.c.expires_at.is_not(None),
    postgresql_where=objects.c.expires_at.is_not(None),
)

object_uses = sa.Table(
    "object_uses",
    metadata,
    sa.Column("object_id", Id, primary_key=True),
    sa.Column("sequence", Sequence, primary_key=True, autoincrement=False),
    sa.Index(None, "sequence"),
    sqlite_with_rowid=False,
)
"""Which tasks refer to an object, in their arguments or in their results; segments count their ``members`` instead."""

locations = sa.Table(
    "locations",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("readers", sa.JSON, nullable=False),
    sa.Column("writers", sa.JSON, nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

holdings = sa.Table(
    "holdings",
    metadata,
    sa.Column("endpoint_id", Id, primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What the caches of endpoints hold, as their agents told."""

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("sequence", Sequence, primary_key=True),
    sa.Column("task_id", Id, nullable=False, unique=True),
    sa.Column("owner_id", Id, nullable=False),
    sa.Column("group_id", Id, nullable=False),
    sa.Column("class_id", Sequence, nullable=False),
    sa.Column("function_id", Id, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("argument_object", Id),
    sa.Column("objects", sa.JSON(none_as_null=True)),
    sa.Column("files", sa.JSON(none_as_null=True)),
    sa.Column("outputs", sa.JSON(none_as_null=True)),
    sa.Column("result_objects", sa.JSON(none_as_null=True)),
    sa.Column("input_bytes", sa.BigInteger),
    sa.Column("timeout_s", sa.Double),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("max_losses", sa.Integer, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("idempotent", sa.Boolean, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON(none_as_null=True)),
    sa.Column("retry_of", Id),
    sa.Column("parents", sa.Integer, nullable=False),
    sa.Column("waiting_for", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("charged", sa.Integer, nullable=False),
    sa.Column("losses", sa.Integer, nullable=False),
    sa.Column("submitted_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("endpoint_id", Id),
    sa.Column("end_cursor", sa.BigInteger),
    sa.Column("message", sa.Text),
    sa.Column("location_object", Id),
    sa.Column("location_offset", sa.BigInteger),
    sa.Column("location_bytes", sa.BigInteger),
    sa.Index(None, "group_id", "end_cursor"),
    sa.Index(None, "owner_id", "sequence"),
    sqlite_autoincrement=True,
)
sa.Index(
    "ix_tasks_queue",
    tasks.c.class_id,
    tasks.c.sequence,
    sqlite_where=tasks.c.state == "queued",
    postgresql_where=tasks.c.state == "queued",
)

sa.Index(
    "ix_tasks_ended",
    tasks.c.ended_at,
    sqlite_where=tasks.c.ended_at.is_not(None),
    postgresql_where=tasks.c.ended_at.is_not(None),
)

task_tags = sa.Table(
    "task_tags",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("sequence", Sequence, sa.ForeignKey("tasks.sequence"), primary_key=True),
    sa.Index(None, "sequence"),
)

dependencies = sa.Table(
    "dependencies",
    metadata,
    sa.Column("parent", Sequence, sa.ForeignKey("tasks.sequence"), primary_key=True),
    sa.Column("child", Sequence, sa.ForeignKey("tasks.sequence"), primary_key=True),
    sa.Index(None, "child"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("sequence", Sequence, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("endpoint_id", Id, nullable=False),
    sa.Column("session_id", Id, nullable=False),
    sa.Column("lease_number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("leased_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("run_s", sa.Double),
    sa.Column("kind", sa.String(16)),
    sa.Column("message", sa.Text),
    sa.Column("host", sa.Text),
    sa.Column("worker", sa.Text),
    sa.Column("python_version", sa.Text),
    sa.Column("stdout", sa.Text),
    sa.Column("stderr", sa.Text),
    sa.Column("node", sa.Text),
    sa.Column("job_id", sa.Text),
    sa.Column("block_id", sa.Text),
    sa.Column("environment", sa.Text),
    sa.Column("peak_memory_bytes", sa.BigInteger),
    sqlite_with_rowid=False,
)
sa.Index(
    "ix_attempts_live",
    attempts.c.session_id,
    sqlite_where=attempts.c.ended_at.is_(None),
    postgresql_where=attempts.c.ended_at.is_(None),
)

log_requests = sa.Table(
    "log_requests",
    metadata,
    sa.Column("request_id", Id, primary_key=True),
    sa.Column("sequence", Sequence, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("stream", sa.String(8), nullable=False),
    sa.Column("session_id", Id, nullable=False),
    sa.Column("object_id", Id, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("created_at", Time, nullable=False),
    sa.Index(None, "session_id"),
    sa.Index(None, "sequence", "number"),
)

triggers = sa.Table(
    "triggers",
    metadata,
    sa.Column("trigger_id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("identities.identity_id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("group_id", Id, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("function", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("backfill", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("listed_to", sa.Text),
    sa.Column("listed_at", Time),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("owner_id", "name"),
)

trigger_events = sa.Table(
    "trigger_events",
    metadata,
    sa.Column("trigger_id", Id, sa.ForeignKey("triggers.trigger_id"), primary_key=True),
    sa.Column("identity", sa.String(64), primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sequencer", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("upload", sa.LargeBinary),
    sa.Column("delivery", sa.LargeBinary),
    sa.Column("manifest", sa.Text),
    sa.Column("dataset", sa.Text),
    sa.Column("task_id", Id),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seen_at", Time, nullable=False),
    sa.Column("submitted_at", Time),
    sa.Index(None, "trigger_id", "state", "seen_at"),
    sa.Index(None, "trigger_id", "submitted_at"),
    sa.Index(None, "trigger_id", "dataset"),
    sqlite_with_rowid=False,
)
"""What became of each upload. It lives as long as its trigger, so that nothing ever counts as new again."""

trigger_outputs = sa.Table(
    "trigger_outputs",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("depth", sa.Integer, nullable=False),
)
"""Files that tasks of triggers write, and how many triggers led to each."""

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("session_id", Id, sa.ForeignKey("sessions.session_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempts", sa.LargeBinary, nullable=False),
)

service_clock = sa.Table(
    "service_clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("alive_at", Time, nullable=False),
    sa.Column("resumed_at", Time, nullable=False),
)

site_model = sa.Table(
    "site_model",
    metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("learned", sa.Text, nullable=False),
)
"""What the router has learned of its sites, as its model tells it."""
