"""Backups: dumps in MySQL Shell's format on S3, each with a `tiphys.json` that says what it must hold."""
