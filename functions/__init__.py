"""The Lambda functions, in the order in which a photo meets them: submit, poll, finalize."""

import gc

# A cold start makes a hundred thousand objects that all stay; to look for garbage among them again
# and again takes a tenth of it.
gc.set_threshold(50_000)
