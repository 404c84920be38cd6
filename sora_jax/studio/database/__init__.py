"""The database, SQLite or PostgreSQL: accounts, jobs, characters, workers and other tables."""
