"""`make demo`: sample photos through the whole pipeline, and what is shown of it."""
