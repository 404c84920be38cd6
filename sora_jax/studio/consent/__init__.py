"""Consent: who may show which character, and which files show one."""
