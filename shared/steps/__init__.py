"""What each function does, from its event to its answer.

Here belong: submit, poll, finalize and reconcile, the start of an execution, SubmitQueue and its
dead letters. Only handlers, the command line and tests call this room; it may call every other one.
"""
