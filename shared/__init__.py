"""Code that the functions share; it imports nothing of functions/, local/ or cli/."""
