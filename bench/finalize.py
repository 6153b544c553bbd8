"""FinalizeFunction's copy of a job's results against the plainest copy and a mere read.

    python -m bench.finalize        # make bench-finalize

Three copies of four results each: ours (the Finalizer with the handler's clients; the record is
kept in memory), the plainest possible (`httpx.stream` into a hash into `upload_fileobj`, one after
the other), and a read that goes nowhere. Each copy has a process of its own, and so have the
vendor and the stores; they speak TLS on this machine's loopback. The copies take turns, and what
is reported is the median of the rounds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import figures
from local.paths import ROOT, TOOLS

RESULTS: Final = 4
ROUNDS: Final = 3
KILO: Final = 1_000
MEGA: Final = 1_000_000
SIZES: Final = (MEGA, 10 * MEGA, 100 * MEGA)
SMALLEST: Final = 100 * KILO
"""The size whose memory is compared with that of the largest."""
DELAY_SECONDS: Final = 0.03
RATE: Final = 50 * MEGA
"""Bytes a second in total: less than any of the copies reaches here."""
CASES: Final[Mapping[str, Sequence[str]]] = {
    "unlimited": (),
    "delay": ("--delay", str(DELAY_SECONDS)),
    "slow": ("--rate", str(RATE)),
}
TITLES: Final = {
    "unlimited": "a store as fast as this machine",
    "delay": f"a store that answers after {DELAY_SECONDS * 1000:.0f} ms",
    "slow": f"a store that takes {RATE // MEGA} MB/s in all",
}
COPIES: Final = {"ours": "Catwalk", "plain": "plain copy", "bare": "mere read"}
MAX_GROWTH_BYTES: Final = 64 * 1024 * 1024
LEAST_RATIO: Final = {"unlimited": 0.8, "delay": 1.5, "slow": 0.8}
"""Our throughput over the plain copy's, at the largest size, for each store."""


@dataclass(frozen=True)
class Server:
    """A vendor or a store, in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    def done(self) -> dict[str, float]:
        """Ask what it has done so far."""
        done: dict[str, float] = json.loads(self._ask())
        return done

    def _ask(self) -> str:
        if self.process.stdin is None or self.process.stdout is None:
            raise TypeError("the server was started without pipes")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def server(certificate: Path, kind: str, *options: str) -> Iterator[Server]:
    """Run a server."""
    command = [sys.executable, "-m", "bench.finalize_servers", kind]
    command += [str(certificate / "server.crt"), str(certificate / "server.key"), *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise TypeError("the server was started without pipes")
        try:
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.stdin.close()  # it ends with its input


def copy(kind: str, size: int, vendor: Server, store: Server, certificate: Path) -> dict[str, Any]:
    """Copy four results of this size in a new process; return time and memory."""
    trusted = str(certificate / "server.crt")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": store.url,
        "AWS_CA_BUNDLE": trusted,
        "SSL_CERT_FILE": trusted,
        "POWERTOOLS_LOG_LEVEL": "ERROR",
    }
    before = vendor.done(), store.done()
    command = [sys.executable, "-m", "bench.finalize_copies"]
    done = subprocess.run(
        [*command, kind, vendor.url, str(size), str(RESULTS)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    after = vendor.done(), store.done()
    if kind != "bare" and after[1]["last_bytes"] != size:
        raise SystemExit(f"the store got {after[1]['last_bytes']} bytes, not {size}")
    return {
        **json.loads(done.stdout),
        "vendor_connections": after[0]["connections"] - before[0]["connections"],
        "store_connections": after[1]["connections"] - before[1]["connections"],
        "servers_cpu_seconds": sum(
            after[which]["cpu_seconds"] - before[which]["cpu_seconds"] for which in (0, 1)
        ),
    }


def measure() -> list[dict[str, Any]]:
    """Run all copies in turn; return one entry a run."""
    runs = []
    plan = [(SMALLEST, "unlimited"), *((size, case) for size in SIZES for case in CASES)]
    with ExitStack() as stack:
        certificate = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # MiniStack's environment has what makes certificates; the laptop makes its own there too.
        python = TOOLS / "ministack" / "bin" / "python"
        subprocess.run([python, "-m", "local.stack.certificate", certificate], cwd=ROOT, check=True)
        vendor = stack.enter_context(server(certificate, "vendor"))
        stores = {
            case: stack.enter_context(server(certificate, "store", *options))
            for case, options in CASES.items()
        }
        for size, case in plan:
            kinds = [kind for kind in COPIES if kind != "bare" or case == "unlimited"]
            for number in range(ROUNDS):
                for kind in kinds if number % 2 else reversed(kinds):
                    figure = copy(kind, size, vendor, stores[case], certificate)
                    runs.append({"size": size, "case": case, "copy": kind, **figure})
    return runs


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the medians and the ratios."""
    rows = []
    for size, case, kind in dict.fromkeys((run["size"], run["case"], run["copy"]) for run in runs):
        same = [
            run for run in runs if (run["size"], run["case"], run["copy"]) == (size, case, kind)
        ]
        names = [name for name in same[0] if name not in {"size", "case", "copy"}]
        middle = {name: median(run[name] for run in same) for name in names}
        rows.append(
            {
                "case": case,
                "copy": kind,
                "bytes_each": size,
                "megabytes_per_second": RESULTS * size / MEGA / middle["seconds"],
                **middle,
            }
        )
    # Ours and the plain copy of one round ran right after one another: whatever else the machine
    # did then slowed both.
    ratios = []
    for size, case in dict.fromkeys((run["size"], run["case"]) for run in runs):
        seconds = {
            kind: [
                run["seconds"]
                for run in runs
                if (run["size"], run["case"], run["copy"]) == (size, case, kind)
            ]
            for kind in ("ours", "plain")
        }
        ratio = median(
            plain / ours for ours, plain in zip(seconds["ours"], seconds["plain"], strict=True)
        )
        ratios.append({"case": case, "bytes_each": size, "throughput_ratio_to_plain": ratio})
    peaks = {
        (row["copy"], row["bytes_each"]): row["peak_bytes"]
        for row in rows
        if row["case"] == "unlimited"
    }
    return {
        "results": RESULTS,
        "rounds": ROUNDS,
        "delay_seconds": DELAY_SECONDS,
        "slow_store_bytes_per_second": RATE,
        "copies": rows,
        "ratios": ratios,
        "memory_growth_bytes": {
            kind: peaks[kind, SIZES[-1]] - peaks[kind, SMALLEST] for kind in COPIES
        },
        "memory_growth_limit_bytes": MAX_GROWTH_BYTES,
        "least_ratios": LEAST_RATIO,
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the table, and the comparison with the targets."""
    table = Table(title=f"{RESULTS} results of each size, copied", title_justify="left")
    for heading in ("store", "size", "copy"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MB/s", "x plain", "seconds", "CPU s", "CPU s servers", "peak MiB"):
        table.add_column(heading, justify="right")
    ratios = {
        (ratio["case"], ratio["bytes_each"]): ratio["throughput_ratio_to_plain"]
        for ratio in found["ratios"]
    }
    for row in found["copies"]:
        size = row["bytes_each"]
        ratio = ratios[row["case"], size]
        table.add_row(
            row["case"],
            f"{size // MEGA} MB" if size >= MEGA else f"{size // KILO} kB",
            COPIES[row["copy"]],
            f"{row['megabytes_per_second']:.1f}",
            f"{ratio:.2f}" if row["copy"] == "ours" else "",
            f"{row['seconds']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['servers_cpu_seconds']:.2f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for case, title in TITLES.items():
        console.print(
            f"{title}: {ratios[case, SIZES[-1]]:.2f} of the plain copy's throughput at"
            f" {RESULTS} x {SIZES[-1] // MEGA} MB; asked for are {LEAST_RATIO[case]}",
            highlight=False,
        )
    console.print(
        f"memory: {found['memory_growth_bytes']['ours'] / 2**20:.0f} MiB more for {RESULTS} x"
        f" {SIZES[-1] // MEGA} MB than for {RESULTS} x {SMALLEST // KILO} kB; allowed are"
        f" {MAX_GROWTH_BYTES // 2**20}",
        highlight=False,
    )


def draw(found: Mapping[str, Any]) -> None:
    """Draw throughput by size for each store."""
    from bench.plots import LIMIT, OTHERS, OURS, plot  # noqa: PLC0415 - a fat process is no fair parent

    speeds = {
        (row["case"], row["copy"], row["bytes_each"]): row["megabytes_per_second"]
        for row in found["copies"]
    }
    colors = {"ours": OURS, "plain": OTHERS[0], "bare": OTHERS[1]}
    highest = 1.15 * max(speeds.values())
    with plot("finalize", size=(9.0, 3.6), columns=len(CASES)) as columns:
        for axes, case in zip(columns, CASES, strict=True):
            kinds = [kind for kind in COPIES if (case, kind, SIZES[0]) in speeds]
            width = 0.8 / len(kinds)
            for place, kind in enumerate(kinds):
                bars = axes.bar(
                    [n + (place - (len(kinds) - 1) / 2) * width for n in range(len(SIZES))],
                    [speeds[case, kind, size] for size in SIZES],
                    width,
                    color=colors[kind],
                    label=COPIES[kind],
                )
                blank = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
                axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=2, bbox=blank)
            axes.set_xticks(range(len(SIZES)), [f"4 x {size // MEGA} MB" for size in SIZES])
            axes.set_ylim(0, highest)
            axes.grid(visible=False, axis="x")
            axes.set_title(TITLES[case], fontsize=9)
        columns[-1].axhline(RATE / MEGA, color=LIMIT, linewidth=0.8, linestyle="--")
        columns[0].set_ylabel("MB/s copied, all four together")
        columns[0].legend(loc="upper left")


def main() -> None:
    """Measure, print and keep."""
    begin = time.monotonic()
    found = summary(measure())
    show(found)
    draw(found)
    path = figures.write("finalize", found)
    print(f"{path.relative_to(ROOT)}, after {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
