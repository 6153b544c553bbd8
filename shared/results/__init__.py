"""A task's images, from the vendor's URLs into ResultsBucket.

This room holds the guarded HTTP client for URLs that the vendor chose, and the store that checks
each image while it copies it. Only FinalizeFunction's step calls this room.
"""
