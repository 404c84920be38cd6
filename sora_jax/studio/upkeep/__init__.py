"""What an operator runs beside a server: backups and soak tests."""
