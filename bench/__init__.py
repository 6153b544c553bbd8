"""Catwalk measured side by side with what its users would otherwise run; `make bench` runs all."""
