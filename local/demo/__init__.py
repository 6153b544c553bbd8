"""`make demo`: runs sample photos through the whole pipeline and shows their progress."""
