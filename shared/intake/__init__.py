"""Intake: a message becomes an arrival, and the arrival says which jobs there are.

What belongs here: reading what a drop or a request asks for, and storing the decision. What may
call it: the steps (submit, reconcile, dead letters). Nothing here speaks to the vendor.
"""
