"""A message becomes an arrival and its jobs.

This room reads SubmitQueue's messages, the settings and their layers, and the photos and masks in
S3. It decides each arrival once. The steps call it. It makes no call to the vendor and writes no
job record.
"""
