"""The installed `catwalk` command: the project's own sources lie beside this file."""
