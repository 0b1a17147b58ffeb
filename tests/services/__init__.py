"""Real services for tests: PostgreSQL, an S3 mock, Ceph; each starts on a free port and is stopped after use."""
