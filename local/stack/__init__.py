"""The whole stack on this machine: the local AWS, the deployment, the processes.

What MiniStack does otherwise than AWS is mended here, and nowhere else.
"""
