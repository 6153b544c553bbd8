"""The commands, by what a person is about to do; `cli.main` puts them together."""
