"""One cold start in two phases, and two warm invocations after it; run by `bench/quota.py`.

It imports the handler, prints a line, and waits for a line on its input before each invocation:
`bench/quota.py` holds this process to its share of a core meanwhile.

    quota_start.py MODULE EVENT INVOCATIONS FOLDER...    FOLDERs go first on sys.path
"""

import sys
import time

sys.path[:0] = sys.argv[4:]
BEGAN, CPU = time.perf_counter(), time.process_time()
module = __import__(sys.argv[1], fromlist=["handler"])

import json  # noqa: E402  after the clock; the handler has imported it


class Context:
    """The context that Lambda passes to a function."""

    function_name = memory_limit_in_mb = invoked_function_arn = "function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation."""
        return 149_000


def tell(began: float, cpu: float) -> None:
    """Print the seconds of a phase; the marker distinguishes the line from the function's log."""
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print("phase " + json.dumps(took), flush=True)


tell(BEGAN, CPU)
with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123  pathlib may not be imported
    event = json.load(file)
for _ in range(int(sys.argv[3])):
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    module.handler(event, Context())
    tell(began, cpu)
