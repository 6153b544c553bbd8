"""Which stack a command means, and what can be said of a stack as a whole.

Here belong: choosing a stack, finding the project, deploying, the doctor, the vendor's key, and the
laptop's stack.
"""
