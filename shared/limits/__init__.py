"""May this photo be sent now?

Here belong: the circuit breaker, the submit rate, the credit limit, the suspicion of single photos
and the first quarter of an hour of a bucket. The steps call this room before each POST.
"""
