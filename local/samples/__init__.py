"""Sample photos, and the script that drops them into the stack of `make up`."""
