"""What Catwalk tells the outside.

Here belong: events on CatwalkBus, metrics, and the announcer that tells of each end exactly once in
the record. The steps and the circuit breaker call this room.
"""
