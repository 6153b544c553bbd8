"""Wrong usages of the command line, and the message that each gets.

A message says what was wrong, with which value, and what to do. Nothing is changed or spent.
"""

from pathlib import Path
from typing import Final

import pytest

from shared.models import JobStatus
from tests.cli_runner import Shell
from tests.factories import png

ROWS: Final[list[tuple[str, int, str, str]]] = [
    # the command line, its exit status, the message, the next step
    ("nope", 2, "There is no command 'nope'.", "`catwalk -h` lists the commands."),
    (
        "revue j --approve",
        2,
        "There is no command 'revue'.",
        "Did you mean review? `catwalk -h` lists the commands.",
    ),
    (
        "jobs --statu failed",
        2,
        "`catwalk jobs` has no option --statu.",
        "Did you mean --status? `catwalk jobs -h` shows how it is used.",
    ),
    (
        "jobs --status faild",
        2,
        "--status 'faild' is not a status.",
        (
            "Did you mean failed? Give waiting, on-its-way, needs-you, running, done, "
            "partly-done, failed or rejected."
        ),
    ),
    (
        "jobs --status broken",
        2,
        "--status 'broken' is not a status.",
        "Give waiting, on-its-way, needs-you, running, done, partly-done, failed or rejected.",
    ),
    (
        "jobs --review aproved",
        2,
        "--review 'aproved' is not a review.",
        "Did you mean approved? Give to-review, approved or refused.",
    ),
    ("jobs --limit -1", 2, "--limit '-1' is too small.", "Give a number of 0 or more."),
    ("jobs --limit many", 2, "--limit 'many' is not a number.", "Give a number of 0 or more."),
    ("jobs --limit", 2, "--limit needs a value.", "`catwalk jobs -h` shows how it is used."),
    ("jobs --json=yes", 2, "--json takes no value.", "`catwalk jobs -h` shows how it is used."),
    (
        "jobs --since yesterday",
        1,
        "--since 'yesterday' is not a time.",
        "Give a span (30m, 2h, 3d) or a day (2026-11-24), in UTC.",
    ),
    ("jobs --folder=", 1, "--folder is empty.", "Name a folder; / is the whole bucket."),
    ("jobs --model claire", 1, "There is no model 'claire'.", "Did you mean 'clara' (002)?"),
    (
        "jobs --scene beach",
        1,
        "--scene 'beach' is not a background.",
        "Give original, none, preset:035 or color:#f4e9dd.",
    ),
    (
        "jobs a b",
        2,
        "`catwalk jobs` takes no argument 'b'.",
        "`catwalk jobs -h` shows how it is used.",
    ),
    (
        "jobs --stack none",
        1,
        "CloudFormation shows no stack 'none' in us-east-1: Stack with id none does not exist.",
        "Name another with --stack, or deploy it: `catwalk deploy`.",
    ),
    (
        "show",
        2,
        "`catwalk show` needs a job.",
        "A job's id, its beginning, or a photo's key. `catwalk show -h` shows how it is used.",
    ),
    (
        "show nobody",
        1,
        "There is no job, no photo and no request 'nobody'.",
        (
            "Give a job's id or its first characters, a photo's whole key or a requestId; `--sku`"
            " selects a SKU. `catwalk jobs TEXT` searches."
        ),
    ),
    ("credits --by month", 2, "--by 'month' is not known.", "Give day, sku or folder."),
    ("credits --days 0", 2, "--days '0' is too small.", "Give a number from 1 to 3660."),
    (
        "drop",
        2,
        "`catwalk drop` needs photos.",
        "Photos and folders of photos. `catwalk drop -h` shows how it is used.",
    ),
    (
        "drop gone.png",
        1,
        "gone.png cannot be dropped: No such file or directory.",
        "Nothing was uploaded. Check the name.",
    ),
    ("drop a.png --images 5", 2, "--images '5' is too large.", "Give a number from 1 to 4."),
    ("drop a.png --images two", 2, "--images 'two' is not a number.", "Give a number from 1 to 4."),
    ("drop a.png --model 02", 1, "There is no model '02'.", "Did you mean 'clara' (002)?"),
    (
        "drop a.png --scene preset",
        1,
        "--scene 'preset' needs the number of a scene.",
        "Give it like this: preset:035.",
    ),
    (
        "drop a.png --scene color",
        1,
        "--scene 'color' needs a colour.",
        "Give it like this: color:#f4e9dd.",
    ),
    (
        "drop a.png --scene preset:35",
        1,
        "There is no preset scene '35'.",
        "Give preset:035, or another of the vendor's ids.",
    ),
    (
        "drop a.png --scene color:red",
        1,
        "--scene 'color:red' is not a background.",
        "Give the colour as six hexadecimal digits: color:#f4e9dd.",
    ),
    (
        "drop a.png --to s3://photos/summer",
        1,
        "--to 's3://photos/summer' is an address.",
        "Name the folder in the stack's photos bucket alone: --to summer/.",
    ),
    ("drop a.png --to=", 1, "--to is empty.", "Name a folder; / is the bucket's top."),
    (
        "drop a.png --mask nix.png",
        1,
        "There is no mask 'nix.png': neither a file here nor an object in s3://photos/.",
        "Nothing was uploaded. Check the name.",
    ),
    (
        "drop a.png --extra {",
        1,
        (
            "--extra is not JSON: Expecting property name enclosed in double quotes: line 1 "
            "column 2 (char 1)."
        ),
        "Give an object: --extra '{\"field\": 1}'.",
    ),
    (
        "drop a.png --timeout soon",
        1,
        "--timeout 'soon' is not a duration.",
        "Give it like this: 90s, 30m or 2h.",
    ),
    (
        "drop a.png --sku-from *_*",
        1,
        "--sku-from '*_*' does not say where the SKU is.",
        (
            "Write {sku} once, and * for any text, as in the file names without their "
            "folder: '{sku}_*'."
        ),
    ),
    (
        "drop a.png --table none.csv",
        1,
        "--table 'none.csv' cannot be read: No such file or directory.",
        "Nothing was uploaded. Check the name.",
    ),
    (
        "drop notes.txt",
        1,
        "There is nothing to drop.",
        "Name JPEG or PNG photos, or folders of them; --anyway also uploads other files.",
    ),
    (
        "regenerate",
        1,
        "No jobs are named.",
        "Give job ids (`catwalk jobs` lists them), --status, --folder or --sku.",
    ),
    ("regenerate nobody", 1, "There is no job 'nobody'.", "`catwalk jobs` lists the jobs."),
    (
        "regenerate j --json",
        1,
        "With --json no question is asked.",
        "Give --dry-run to see the price, or --yes to continue.",
    ),
    (
        "resolve u",
        1,
        "Say what you found at the vendor.",
        "Give exactly one of --task-id ID, --charged and --not-charged.",
    ),
    (
        "resolve u --charged --not-charged",
        1,
        "Say what you found at the vendor.",
        "Give exactly one of --task-id ID, --charged and --not-charged.",
    ),
    (
        "review j",
        1,
        "No decision is given.",
        "Give --approve or --refuse for the jobs, or --choose 1,3 or --refuse-images 2 for images.",
    ),
    (
        "review j --approve --refuse",
        1,
        "The options contradict each other.",
        "Give one of --approve, --refuse and --reopen.",
    ),
    (
        "review j --choose 5",
        1,
        "--choose '5' names no images.",
        "Give numbers from 1 to 4 with commas between them: --choose 1,3.",
    ),
    (
        "pull j",
        2,
        "`catwalk pull` needs --to.",
        (
            "The folder on this machine; it is made if it is not there. `catwalk pull -h` "
            "shows how it is used."
        ),
    ),
    (
        "pull j --to s3://out",
        1,
        "--to 's3://out' is an address.",
        "Name a folder on this machine: --to out/.",
    ),
    (
        "pull --to out",
        1,
        "No jobs are named.",
        (
            "Give job ids (`catwalk jobs` lists them), --folder, --sku, --status or --approved;"
            " --folder / is everything."
        ),
    ),
    (
        "sheet j --to sheet.pdf",
        1,
        "--to 'sheet.pdf' is not an HTML file.",
        "Name one on this machine: --to sheet.html.",
    ),
    (
        "shoot j",
        1,
        "No new settings are given.",
        (
            "Give --model, --scene, --color or --images. --again makes other images with the same"
            " settings."
        ),
    ),
    (
        "shoot j --model mia --scene none --color #fff",
        1,
        "--scene 'none' and --color contradict each other.",
        "Leave one of them out.",
    ),
    ("listen --limit 0", 2, "--limit '0' is too small.", "Give a number of 1 or more."),
    ("gallery --port 70000", 2, "--port '70000' is too large.", "Give a number from 0 to 65535."),
]


@pytest.fixture
def desk(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Give a stack with a failed job and one that needs a person, and a photo on this machine."""
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(png())
    Path("notes.txt").write_text("notes")
    shell.job("j")
    shell.job("u", JobStatus.SUBMIT_UNKNOWN)
    return shell


@pytest.mark.parametrize(("line", "status", "message", "step"), ROWS, ids=[row[0] for row in ROWS])
def test_wrong_usage(desk: Shell, line: str, status: int, message: str, step: str) -> None:
    """A wrong usage is told in two sentences, and nothing is changed."""
    before = desk.state()
    code, out, err = desk(*line.split(" "))
    assert (code, out, err.splitlines()[-2:]) == (status, "", [message, step])
    assert desk.state() == before
