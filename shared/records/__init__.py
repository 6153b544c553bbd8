"""The only writers of job records and of the credit ledger.

This room holds every conditional write of a `JOB#` item and of a `CREDIT#` entry. Any room above
may call it. It calls only models and clock.
"""
