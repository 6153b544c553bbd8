"""What a stack's records say, and what can be done with a job that has ended.

Here belong: listing, finding and watching jobs, a job's timeline, and recovery. The commands and
the gallery call this room.
"""
