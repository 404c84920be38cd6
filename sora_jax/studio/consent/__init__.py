"""Consent: which accounts may show which characters, and which files show a character."""
