"""Copies a finished task's results and closes the record."""
