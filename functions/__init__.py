"""The Lambda functions: submit, poll and finalize, in a photo's order, and reconcile."""

import gc

# A cold start makes a hundred thousand objects, and all of them stay. With Python's default
# threshold, garbage collection would take a tenth of the cold start.
gc.set_threshold(50_000)
