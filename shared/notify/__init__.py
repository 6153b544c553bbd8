"""Events and metrics.

This room holds the events on CatwalkBus, the metrics, and the announcer, which publishes each
status of a job and notes it in the record. The steps and the circuit breaker call this room.
"""
