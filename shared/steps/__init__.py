"""What each function does, from its event to its answer.

This room holds submit, poll, finalize and reconcile, the start of an execution, SubmitQueue and its
dead letters. Only handlers, the command line and tests call it. It may call every other room.
"""
