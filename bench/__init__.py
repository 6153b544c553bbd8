"""Benches that compare Catwalk with what its users would otherwise run; `make bench` runs all."""
