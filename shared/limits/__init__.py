"""May this photo be sent now?

Here belong: the gate, and what it asks (circuit breaker, submit rate, credit limit); the suspicion
of single photos; and the first quarter of an hour of a bucket. The steps call this room before each
POST.
"""
