"""A message becomes an arrival and its jobs.

Here belong: reading SubmitQueue's messages, settings and their layers, photos and masks as they lie
in S3, and the arrival, which is decided once. The steps call this room. It calls `records/` to find
existing jobs, and never the vendor.
"""
