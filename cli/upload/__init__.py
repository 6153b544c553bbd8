"""Photos from this machine into PhotosBucket.

Here belong: collecting files, reading settings from the command line, uploading and the progress
that is shown meanwhile.
"""
