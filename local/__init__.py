"""Catwalk on one laptop: the simulated vendor, sample photos, the local stack, the demo."""
