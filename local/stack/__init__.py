"""The whole stack on this machine: the local AWS, the deployment, the processes.

Only this package compensates for differences between MiniStack and AWS.
"""
