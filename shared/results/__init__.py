"""A task's images, from the vendor's URLs into ResultsBucket.

Here belong: the guarded HTTP client for addresses that somebody else chose, and the store that
checks each image while it is copied. FinalizeFunction's step alone calls this room.
"""
