"""When is a task read next?

Here belong: the poll schedule and its planner, the task history that they learn from, the rate
limit of reads, and the state that the state machine carries. The steps call this room. It writes
only its own items in JobsTable, never a job record.
"""
