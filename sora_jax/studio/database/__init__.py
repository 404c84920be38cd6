"""Rows: accounts, jobs, characters and workers, in SQLite or PostgreSQL."""
