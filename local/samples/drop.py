"""Drops the demo's photos into the stack of `make up`, unless it has photos: `make gallery`.

A stack that has any photo is somebody's, and is left as it is.
"""

import json

from local.demo import scenario
from local.stack.stack import UP, find, folder_of


def main() -> None:
    """Drop them, and do not wait for what becomes of them."""
    stack = find(folder_of(UP))
    if stack is None:
        raise SystemExit("No stack is up; run `make up` first.")
    bucket = stack.output("PhotosBucketName")
    if stack.clients.s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents"):
        return
    print("The stack is empty: it gets the sample photos.")
    for action in scenario.actions():
        if isinstance(action, scenario.Upload):
            stack.clients.s3.put_object(
                Bucket=bucket, Key=action.key, Body=action.body, Metadata=action.metadata
            )
        else:
            stack.clients.events.put_events(
                Entries=[
                    {
                        "Source": "shop",
                        "DetailType": "Fashion Model Requested",
                        "EventBusName": stack.output("EventBusName"),
                        "Detail": json.dumps(action.detail),
                    }
                ]
            )


if __name__ == "__main__":
    main()
