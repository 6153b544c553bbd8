"""Finds stalled work and continues it."""
