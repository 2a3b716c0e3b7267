"""Columns beside those that were ingested: friend columns from other files, and derived columns."""
