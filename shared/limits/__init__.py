"""May this photo be sent now?

This room holds the gate and what it asks (circuit breaker, submit rate, credit limit), the rules
for photos that are refused (suspicion), and the first quarter of an hour of a new bucket. The steps
call this room before each POST.
"""
