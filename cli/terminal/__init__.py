"""What is written to the terminal, and the options that several commands share.

Nothing here knows of AWS.
"""
