"""One cold start: imports a handler, invokes it once, and prints the time of each step.

`bench/imports.py` runs this file in a new interpreter without site-packages. It imports as little
as possible before the clock starts. Times are those of `perf_counter`.

    cold_start.py MODULE EVENT FOLDER...    FOLDERs are first on sys.path, as in Lambda
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
    """Make a client and note when it was ready."""
    client = create_client(*arguments, **options)  # type: ignore[arg-type]  # as given
    clients.append(time.perf_counter())
    return client


class Context:
    """The context that Lambda passes to a function."""

    function_name = memory_limit_in_mb = invoked_function_arn = "function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation."""
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
            # A client that the import made is ready at the end of the import.
            "ready": clients[0] if sys.argv[1] != "naive_handler" else IMPORTED,
            "between": INVOKED - IMPORTED,
            "ended": ENDED,
            "modules": len(sys.modules),
            "answer": answer,
        }
    )
)
