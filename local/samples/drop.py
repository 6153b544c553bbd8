"""Drops the demo's photos into the stack of `make up` for `make gallery`.

A stack that already has a photo is left unchanged.
"""

from local.demo import scenario
from local.stack.stack import find, folder_of
from local.stack.state import UP


def main() -> None:
    """Drop the photos, without waiting for their jobs."""
    stack = find(folder_of(UP))
    if stack is None:
        raise SystemExit("No stack is up; run `make up` first.")
    bucket = stack.output("PhotosBucketName")
    if stack.clients.s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents"):
        return
    print("The stack is empty: it gets the sample photos.")
    for action in scenario.actions():
        action.perform(stack)


if __name__ == "__main__":
    main()
