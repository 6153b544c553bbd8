"""Cold starts: the time to import a handler and make its first client, measured on the package.

Each run is a new interpreter. Its sys.path has the package that `sam build` made, then the boto3 of
Lambda's runtime. The comparison is a simple handler (`bench/naive_handler.py`) with the same
versions of the same packages:

    as SAM ships it   with boto3 in the package, without bytecode: SAM's Python builder
    compiled          the same, with bytecode
    runtime's boto3   as the first, but with the runtime's boto3, which has bytecode

Three times are measured, each from the start of the import, on a stub that answers at once:

    first client      the handler is imported, and its first AWS client is ready
    first request     the first request has arrived at AWS; this includes all lazy imports
    first answer      the first invocation has returned
"""

import compileall
import importlib.metadata
import json
import os
import platform
import py_compile
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench import figures
from bench.stub import TASK_ID, Stub, stub
from local.paths import ROOT, TOOLS

RUNS: Final = 10
GOAL: Final = 0.50
MAX_BYTES: Final = 15_000_000
OUR_FUNCTIONS: Final = ("submit", "poll", "finalize", "reconcile")
NAIVE_SHIPPED, NAIVE_COMPILED, NAIVE_RUNTIME = (
    "naive, as SAM ships it",
    "naive, compiled",
    "naive, runtime's boto3",
)
_NAIVE: Final = (NAIVE_SHIPPED, NAIVE_COMPILED, NAIVE_RUNTIME)
SPANS: Final = ("first_client", "first_request", "first_answer")
_BOTO3: Final = (
    *("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"),
)
JOB_ID: Final = "5f0e1d2c3b4a59687786a5b4c3d2e1f0"
_EVENTS: Final = {
    "submit": "submit/photo-dropped.json",
    "poll": "poll/first-poll.json",
    "finalize": "finalize/results.json",
    "reconcile": "reconcile/scheduled.json",
}
Run = dict[str, float]


def main() -> None:
    """Measure, print a table, and keep figures and plot."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        candidates = _candidates(folder)
        with stub() as server:
            for name in candidates:
                _cold_start(server, folder, *candidates[name])  # files into the page cache
            runs: dict[str, list[Run]] = {name: [] for name in candidates}
            for _ in range(RUNS):
                for name in candidates:
                    runs[name].append(_cold_start(server, folder, *candidates[name]))
        sizes = {name: _size(folders[0]) for name, (_, _, folders) in candidates.items()}
    medians = {
        name: {span: statistics.median(run[span] for run in measured) for span in SPANS}
        for name, measured in runs.items()
    }
    _show(medians, sizes)
    figures.write("imports", _figures(medians, sizes))
    _draw(medians)


def _candidates(folder: Path) -> dict[str, tuple[str, Path, list[Path]]]:
    """Make all packages; return by name the handler's module, its event and its sys.path."""
    build = folder / "build"
    _sam_build(build)
    runtime = folder / "runtime"
    _copy(_BOTO3, runtime)
    _compile(runtime)
    locked = _locked()
    naive = {name: folder / f"naive-{number}" for number, name in enumerate(_NAIVE)}
    for name, package in naive.items():
        boto3 = () if name == NAIVE_RUNTIME else _BOTO3
        _copy({*locked, *boto3}, package)
        shutil.copy2(ROOT / "bench" / "naive_handler.py", package)
    _compile(naive[NAIVE_COMPILED])
    event = ROOT / "events" / _EVENTS["poll"]
    candidates = {
        name: ("naive_handler", event, [package, runtime]) for name, package in naive.items()
    }
    return candidates | _ours(build, runtime)


def our_packages(folder: Path) -> dict[str, tuple[str, Path, list[Path]]]:
    """Make only Catwalk's packages and the runtime's boto3; returns the same as `_candidates`."""
    build, runtime = folder / "build", folder / "runtime"
    _sam_build(build)
    _copy(_BOTO3, runtime)
    _compile(runtime)
    return _ours(build, runtime)


def _ours(build: Path, runtime: Path) -> dict[str, tuple[str, Path, list[Path]]]:
    return {
        function: (
            f"functions.{function}.handler",
            ROOT / "events" / _EVENTS[function],
            [build / f"{function.title()}Function", runtime],
        )
        for function in OUR_FUNCTIONS
    }


def _sam_build(build: Path) -> None:
    """Run the real `sam build`, for this interpreter and this processor."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    overrides = [f"PythonRuntime={version}", f"Architecture={machine}"]
    subprocess.run(
        [
            TOOLS / "sam" / "bin" / "sam",
            *("build", "--template-file", str(ROOT / "template.yaml")),
            *("--build-dir", str(build), "--parameter-overrides", *overrides),
        ],
        cwd=ROOT,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"},
        check=True,
        capture_output=True,
    )


def _locked() -> set[str]:
    """Return the names of the packages in the functions' package."""
    lines = (ROOT / "requirements" / "functions.txt").read_text("utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}


def _copy(distributions: Iterable[str], folder: Path) -> None:
    """Copy packages from this environment without bytecode, as an installer writes them."""
    for name in distributions:
        for file in importlib.metadata.files(name) or ():
            if "__pycache__" in file.parts or ".." in file.parts:
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(str(file.locate())), target)


def _compile(folder: Path) -> None:
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode)


def _size(package: Path) -> int:
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def _cold_start(server: Stub, folder: Path, module: str, event: Path, on_path: list[Path]) -> Run:
    """Run once; return the spans in seconds."""
    server.items = {f"JOB#{JOB_ID}": running_job()}
    server.asked_at.clear()
    payload = folder / "event.json"
    payload.write_text(event.read_text("utf-8").replace("https://open.vmake.ai", server.url))
    script = str(ROOT / "bench" / "cold_start.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", script, module, str(payload), *map(str, on_path)],
        env=environment(server.url),
        check=True,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    started, between = said["started"], said["between"]
    ready = said["ready"] - (between if said["ready"] > said["imported"] else 0)
    return {
        "first_client": ready - started,
        "first_request": server.asked_at[0] - between - started,
        "first_answer": said["ended"] - between - started,
    }


def environment(url: str) -> dict[str, str]:
    """Return the environment variables that the template and Lambda set."""
    states = "arn:aws:states:eu-central-1:111122223333:stateMachine:jobs"
    return {
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SESSION_TOKEN": "test",
        "AWS_ENDPOINT_URL": url,
        "JOBS_TABLE": "jobs",
        "EVENT_BUS": "catwalk",
        "VMAKE_BASE_URL": url,
        "API_KEY_SECRET": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:key",
        "PHOTOS_BUCKET": "catwalk-photosbucket-example",
        "RESULTS_BUCKET": "results",
        "SUBMIT_QUEUE_URL": f"{url}/111122223333/submit",
        "DEAD_LETTER_QUEUE_URL": f"{url}/111122223333/dead",
        "STATE_MACHINE_ARN": states,
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "PATH": os.environ.get("PATH", ""),
    }


def running_job() -> dict[str, Any]:
    """Return the item of the job that the events for Poll and Finalize are about."""
    settings = {"model_id": "002", "scene_type": "original"}
    return {
        "pk": {"S": f"JOB#{JOB_ID}"},
        "job_id": {"S": JOB_ID},
        "attempt": {"N": "1"},
        "status": {"S": "RUNNING"},
        "announced": {"S": "RUNNING"},
        "source_key": {"S": "summer/dress.jpg"},
        "task_id": {"S": TASK_ID},
        "settings": {
            "M": {
                **{name: {"S": value} for name, value in settings.items()},
                "batch_size": {"N": "2"},
            }
        },
        "created_at": {"S": "2026-11-22T09:30:00.000Z"},
        "updated_at": {"S": "2026-11-22T09:30:02.000Z"},
        "submitted_at": {"S": "2026-11-22T09:30:02.000Z"},
    }


def _ratios(medians: Mapping[str, Run], span: str, naive: str) -> dict[str, float]:
    return {name: medians[name][span] / medians[naive][span] for name in OUR_FUNCTIONS}


def _show(medians: Mapping[str, Run], sizes: Mapping[str, int]) -> None:
    title = f"Cold starts: medians of {RUNS} runs, milliseconds, and ratios of first clients"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("handler", no_wrap=True)
    for column in ("client", "/ SAM's", "/ compiled", "request", "answer", "MB"):
        table.add_column(column, justify="right")
    for name, spans in medians.items():
        ours = name in OUR_FUNCTIONS
        client = spans["first_client"]
        shares = [client / medians[naive]["first_client"] for naive in _NAIVE[:2]]
        table.add_row(
            name,
            f"{client * 1000:.0f}",
            *(f"{share:.2f}" if ours else "" for share in shares),
            f"{spans['first_request'] * 1000:.0f}",
            f"{spans['first_answer'] * 1000:.0f}",
            f"{sizes[name] / 1e6:.1f}",
        )
    Console().print(table)


def _figures(medians: Mapping[str, Run], sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "runs": RUNS,
        "goal_ratio": GOAL,
        "goal_package_bytes": MAX_BYTES,
        "handlers": {
            name: {
                **{f"{span}_milliseconds": round(spans[span] * 1000, 1) for span in SPANS},
                "package_bytes": sizes[name],
            }
            for name, spans in medians.items()
        },
        "ratios": {
            f"{span}_ratio_to_{key}": {
                name: round(ratio, 3) for name, ratio in _ratios(medians, span, naive).items()
            }
            for span in SPANS
            for key, naive in zip(("shipped", "compiled", "runtime_boto3"), _NAIVE, strict=True)
        },
    }


def _draw(medians: Mapping[str, Run]) -> None:
    from bench.plots import LIMIT, OTHERS, OURS, plot  # noqa: PLC0415  the unit tests have no matplotlib

    names = list(medians)
    with plot("imports") as axes:
        for place, name in enumerate(names):
            colour = OURS if name in OUR_FUNCTIONS else OTHERS[0]
            client, answer = (
                medians[name][span] * 1000 for span in ("first_client", "first_answer")
            )
            axes.barh(place, answer, color=colour, alpha=0.3)
            axes.barh(place, client, color=colour)
            axes.text(client - 8, place, f"{client:.0f}", ha="right", va="center", color="white")
        goal = medians[NAIVE_SHIPPED]["first_client"] * 1000 * GOAL
        axes.axvline(goal, color=LIMIT, linestyle="--", linewidth=1)
        axes.text(goal + 8, len(names) - 0.45, "half of the first bar", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds to the first client (full) and to the first answer (pale)")
        axes.set_title("Cold starts: Catwalk's functions beside a naive one")


if __name__ == "__main__":
    main()
