"""When is a task read next?

Here belong: the poll planner, the task history that it learns from, and the rate limit of reads.
The steps call this room. It writes only its own items in JobsTable, never a job record.
"""
