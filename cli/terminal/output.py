"""Text and tables for standard output: on a wide or narrow terminal, in a pipe, without colour."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Span, Text

from cli.terminal.words import STATUS_WORDS
from shared.clock import parse_iso
from shared.models import Job, JobStatus
from shared.notify.events import detail_of

PIPE_WIDTH: Final = 10_000
"""The width outside of a terminal, so that no line is broken."""
STYLES: Final = {
    JobStatus.ACCEPTED: "dim",
    JobStatus.SUBMITTING: "dim",
    JobStatus.SUBMIT_UNKNOWN: "magenta",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.PARTIAL: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.REJECTED: "red",
}
"""The colour of each status, which is always also written as text."""
SHORT_ID: Final = 8
"""Characters of a job's id in a table on a terminal; the commands accept such a prefix."""
_MANY: Final = 2
"""A folder is common to at least so many photos."""
_GAP: Final = 2
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_PRECISE: Final = 10
"""Durations of at least this many seconds have no decimals."""
_KIB: Final = 1024


def open_closed() -> None:
    """Open the standard streams that the shell has closed (`>&-`), which Python sets to None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It lives as long as the process.
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def escape_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks: photos may have any name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def console() -> Console:
    """Return a console for the present standard output."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(width=PIPE_WIDTH, highlight=False)


def say(text: str | Text, *, style: str = "") -> None:
    """Write a line to standard output; it is wrapped between words on a terminal only."""
    made = console()
    made.print(shown(text), style=style, soft_wrap=not made.is_terminal)


def say_whole(text: str | Text) -> None:
    """Write a line that may be copied, such as a command or an address, without wrapping it."""
    console().print(shown(text), soft_wrap=True)


def say_hanging(text: str | Text, indent: int) -> None:
    """Write a text; on a terminal, its further lines are indented by so many columns."""
    made = console()
    whole = shown(text)
    room = made.width - indent
    if not made.is_terminal or whole.cell_len <= made.width or room <= indent:
        made.print(whole, soft_wrap=True)
        return
    head, rest = whole.divide([indent])
    for number, line in enumerate(rest.wrap(made, room)):
        line.rstrip()
        made.print(head if number == 0 else Text(" " * indent), line, sep="", soft_wrap=True)


def say_json(document: Any) -> None:  # noqa: ANN401  any JSON
    """Write a JSON value as one line, for other programs."""
    sys.stdout.write(as_json(document) + "\n")
    sys.stdout.flush()


def as_json(document: Any, *, indent: int | None = None) -> str:  # noqa: ANN401  any JSON
    """Return JSON that standard output can encode.

    If its encoding is not UTF-8, non-ASCII characters are written as JSON escapes. Control and
    format characters are always escaped, because a terminal would obey them.
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("_", "-")
    written = json.dumps(document, indent=indent, ensure_ascii=encoding not in {"utf-8", "utf8"})
    # Between values there are only spaces and line breaks, so escapes occur in strings only.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in written)


def tell(text: str) -> None:
    """Write an additional line to standard error."""
    _aside(text, "dim")


def warn(text: str) -> None:
    """Write a warning to standard error."""
    _aside(text, "yellow")


def complain(message: str, next_step: str) -> None:
    """Write an error and the next step to standard error."""
    for text, style in ((message, "red"), (next_step, "")):
        _aside(text, style)


def _aside(text: str, style: str) -> None:
    made = Console(stderr=True, highlight=False)
    made.print(shown(text), style=style, soft_wrap=not made.is_terminal)


def shown(text: str | Text) -> Text:
    """Return a text without markup, and with control characters escaped, as in photos' names."""
    plain = text.plain if isinstance(text, Text) else text
    letters = [c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain]
    if not isinstance(text, Text):
        return Text("".join(letters))
    if plain.isprintable():
        return text
    # Escapes are longer than their characters, so the styled spans move.
    at = [0, *accumulate(map(len, letters))]
    spans = [Span(at[span.start], at[span.end], span.style) for span in text.spans]
    return Text("".join(letters), style=text.style, spans=spans)


def status(value: JobStatus) -> Text:
    """Return a status in words, in its colour."""
    return Text(STATUS_WORDS[value], style=STYLES[value])


def credits_of(count: int) -> str:
    """Return a number of credits in words: `1 credit`."""
    return counted(count, "credit")


def most_credits(count: int) -> str:
    """Return the most that something can cost: `1 credit`, `up to 2 credits`."""
    return f"{'up to ' if count > 1 else ''}{credits_of(count)}"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: `1 photo`, `2 photos`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def record(job: Job) -> dict[str, Any]:
    """Return a job as --json shows it: the detail of events, with `waiting` and `deadLetter`."""
    more: dict[str, Any] = {}
    if job.waiting is not None:
        more["waiting"] = job.waiting.model_dump(mode="json", by_alias=True)
    if job.dead_letter is not None:
        more["deadLetter"] = job.dead_letter
    return {**detail_of(job), **more}


def common_folder(keys: Sequence[str]) -> str:
    """Return the folder in which all these photos are, `summer/`; empty if there is none.

    A table says it once, so that the names have room.
    """
    if len(keys) < _MANY:
        return ""
    levels = zip(*(key.split("/")[:-1] for key in keys), strict=False)
    names = [level[0] for level in takewhile(lambda level: len({*level}) == 1, levels)]
    return "".join(f"{name}/" for name in names)


def duration(seconds: float) -> str:
    """Return a short duration: `8.1 s`, `3 min`, `5 h`, `2 d`."""
    if seconds < _PRECISE:
        return f"{seconds:.1f} s"
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(moment: str) -> str:
    """Return the duration since a time of a record."""
    return duration(max(0.0, (datetime.now(UTC) - parse_iso(moment)).total_seconds()))


def size_of(count: int) -> str:
    """Return a short size: `812 B`, `1.4 MiB`."""
    if count < _KIB:
        return f"{count} B"
    kib = count / _KIB
    return f"{kib:.0f} KiB" if kib < _KIB else f"{kib / _KIB:.1f} MiB"


def elided(text: str, width: int) -> str:
    """Return a text, shortened in the middle if it is wider than so many columns.

    Both ends of a photo's key matter: the folder and the name.
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    back = width // 2
    front = set_cell_size(text, width - 1 - back).rstrip()
    # The end that fits, found by measuring from the right.
    rest = next(iter(chop_cells(text[::-1], back)), "")[::-1]
    return f"{front}…{rest}"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    rank: int = 0
    """If the table is too wide, the column with the highest rank is removed first; 0 stays."""
    least: int = 0
    """Minimum width, to which its texts may be shortened; 0 means the full width."""
    preferred: int = 0
    """Preferred width: columns of rank 2 and above are removed before it gets narrower."""
    right: bool = False


Cell = str | Text


def laid_out(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    width: int,
    *,
    header: bool = True,
) -> list[Text]:
    """Return a table as lines of at most `width` columns.

    The least important columns are removed first, then long texts are shortened; nothing wraps.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    natural = [
        max([cell_len(column.name) if header else 0, *(line[n].cell_len for line in cells)])
        for n, column in enumerate(columns)
    ]
    least = [min(wide, column.least or wide) for column, wide in zip(columns, natural, strict=True)]
    preferred = [
        min(wide, max(column.preferred, low))
        for column, wide, low in zip(columns, natural, least, strict=True)
    ]
    kept = [n for n in range(len(columns)) if natural[n] or not columns[n].rank]
    for room, lowest in ((preferred, 2), (least, 1)):
        while _total([room[n] for n in kept]) > width:
            goes = max(kept, key=lambda n: columns[n].rank)
            if columns[goes].rank < lowest:
                break
            kept.remove(goes)
    widths = {n: natural[n] for n in kept}
    while _total(list(widths.values())) > width:
        n = max(kept, key=lambda n: (widths[n] > least[n], widths[n] - least[n]))
        if widths[n] <= least[n]:
            break
        over = _total(list(widths.values())) - width
        widths[n] -= min(over, widths[n] - least[n])
    names = [Text(column.name) for column in columns]
    lines = []
    for line in [names, *cells] if header else cells:
        text = Text(style="dim" if line is names else "")
        for n in kept:
            if text:
                text.append(" " * _GAP)
            text.append_text(_padded(line[n], widths[n], right=columns[n].right))
        text.rstrip()
        text.truncate(width)
        lines.append(text)
    return lines


def show_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, header: bool = True
) -> None:
    """Write a table: fitted to a terminal, or with whole texts in a pipe."""
    made = console()
    for line in laid_out(columns, rows, made.width, header=header):
        made.print(line, no_wrap=True, soft_wrap=not made.is_terminal)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _padded(text: Text, width: int, *, right: bool) -> Text:
    if text.cell_len > width:
        text = Text(elided(text.plain, width), style=text.style)
    space = " " * (width - text.cell_len)
    return Text.assemble(space, text) if right else Text.assemble(text, space)
