"""What the functions share; imports nothing of functions/, local/ or cli/."""
