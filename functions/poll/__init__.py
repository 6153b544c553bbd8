"""Reads a task once and returns the next state of the wait loop."""
