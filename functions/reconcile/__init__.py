"""Finds what stands still, and moves it on."""
