"""The only writers of job records and of the credit ledger.

Here belong: every conditional write of a `JOB#` item and of a `CREDIT#` entry. Any room above may
call this one; it calls nothing but models and clock.
"""
