"""Reads a task once and says what the wait loop does next."""
