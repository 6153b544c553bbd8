"""When is a task read next?

This room holds the poll schedule and its planner, the task history that they learn from, the rate
limiter of reads, and the state that the state machine carries. The steps call it. It writes only
its own items in JobsTable, never a job record.
"""
