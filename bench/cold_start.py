"""One cold start: import a handler, invoke it once, and print when what was done.

Run by `bench/imports.py` in an interpreter of its own, without site-packages, as a file: it
imports as little as it can before the clock starts. The moments are those of `perf_counter`.

    cold_start.py MODULE EVENT FOLDER...    FOLDERs go first on sys.path, as Lambda's do
"""

import sys
import time

sys.path[:0] = sys.argv[3:]
STARTED = time.perf_counter()
module = __import__(sys.argv[1], fromlist=["handler"])
IMPORTED = time.perf_counter()

if "botocore.session" not in sys.modules:
    raise SystemExit("the handler puts importing botocore off; the figures would be wrong")

import json  # noqa: E402  after the clock

import botocore.session  # noqa: E402  as above; it is imported already

clients: list[float] = []
create_client = botocore.session.Session.create_client


def timed(*arguments: object, **options: object) -> object:
    """Make a client and note when it was there."""
    client = create_client(*arguments, **options)  # type: ignore[arg-type]  # as given
    clients.append(time.perf_counter())
    return client


class Context:
    """What Lambda tells a function about its invocation."""

    function_name = memory_limit_in_mb = invoked_function_arn = "function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the function's time."""
        return 149_000


# It stands in for the original, around which it takes the time.
botocore.session.Session.create_client = timed  # type: ignore[method-assign,assignment]
with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123  pathlib would be imported
    event = json.load(file)
INVOKED = time.perf_counter()
answer = module.handler(event, Context())
ENDED = time.perf_counter()
print(
    json.dumps(
        {
            "started": STARTED,
            "imported": IMPORTED,
            # A handler that made its client while it was imported is ready when that is done.
            "ready": clients[0] if sys.argv[1] != "naive_handler" else IMPORTED,
            "between": INVOKED - IMPORTED,
            "ended": ENDED,
            "modules": len(sys.modules),
            "answer": answer,
        }
    )
)
