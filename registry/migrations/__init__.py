"""The history of the tables, applied in order by Alembic when the service starts."""
