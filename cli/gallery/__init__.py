"""The gallery: before and after of every job, served on this machine's loopback alone."""
