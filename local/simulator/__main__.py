"""The command: `python -m local.simulator --port 9000`."""

import argparse
import errno
import logging
import sys

from local.interfaces import LOOPBACK
from local.simulator.server import bind, run
from local.simulator.settings import Settings, SettingsError

_USAGE_HINT = """\
The simulated vendor listens at {base_url}
  Use it in place of https://open.vmake.ai: {key}.
  Its state: {base_url}/_simulator/state. Faults to script: local/simulator/README.md
  Ctrl-C stops it."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.simulator",
        description="A simulator of the Vmake AI Fashion Model V4 API: no account, no credits.",
    )
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free port (9000)")
    parser.add_argument(
        "--host",
        action="append",
        help="an address to listen on (loopback); may be given more than once",
    )
    parser.add_argument("--api-key", help="the only valid key (any key that is not empty)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a task runs (8)")
    parser.add_argument(
        "--jitter", type=float, default=0.3, help="the variation of that, as a share (0.3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random values but ids (0)")
    parser.add_argument("--credits", type=int, help="the balance (unlimited)")
    parser.add_argument(
        "--ca-bundle",
        help="a PEM file to trust when photos are downloaded, in addition to the usual authorities "
        "(AWS_CA_BUNDLE and SSL_CERT_FILE)",
    )
    parser.add_argument(
        "--plain-results",
        action="store_true",
        help="make one small image a scene instead of drawing from each photo, for benchmarks",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    arguments = _arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        settings = Settings().changed(
            {
                "seconds": arguments.seconds,
                "jitter": arguments.jitter,
                "credits": arguments.credits,
                "api_key": arguments.api_key,
                "plain_results": arguments.plain_results,
            }
        )
    except SettingsError as problem:
        return _fail(str(problem))
    try:
        hosts = tuple(arguments.host or [LOOPBACK])
        listeners, base_url = bind(hosts, arguments.port)
    except (OSError, OverflowError) as problem:
        return _fail(_why_not(problem, " and ".join(hosts), arguments.port))
    key = "any API key will do" if settings.api_key is None else "with the API key that you set"
    try:
        run(
            listeners,
            settings=settings,
            seed=arguments.seed,
            ca_bundle=arguments.ca_bundle,
            on_start=lambda: print(_USAGE_HINT.format(base_url=base_url, key=key), flush=True),
        )
    except SettingsError as problem:
        return _fail(str(problem))
    except KeyboardInterrupt:
        # The signal came before the server handled signals.
        return 0
    return 0


def _why_not(problem: OSError | OverflowError, host: str, port: int) -> str:
    if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: stop what uses it, or choose another with --port"
    return f"cannot listen on port {port} of {host}: {problem}"


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
