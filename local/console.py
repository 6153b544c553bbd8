"""Live output on a terminal, line by line elsewhere.

The command line uses it too; text and tables that only the command line prints belong to
`cli.terminal`.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_REFRESHES_A_SECOND: Final = 8


def is_live(console: Console) -> bool:
    """Return whether the screen may be redrawn; NO_COLOR asks for plain lines."""
    return console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR")


@contextmanager
def live(console: Console, content: RenderableType) -> Iterator[None]:
    """Redraw something on the screen while the block runs; its last state stays."""
    with Live(
        content,
        console=console,
        refresh_per_second=_REFRESHES_A_SECOND,
        vertical_overflow="visible",
    ):
        yield


def print_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Write pairs of a name and a text."""
    if not is_live(console):
        for name, text in facts:
            console.print(f"  {name:9} {text}", markup=False)
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(f"  {name:9}", Text(text))
    console.print(table)


@dataclass
class _Step:
    name: str
    begun: float
    detail: str = ""
    seconds: float | None = None
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))


class StepList:
    """The steps of a start: a spinner each, then a tick and the duration.

    Use it as a context manager around the start.
    """

    def __init__(self, console: Console) -> None:
        """Write to this console."""
        self._console = console
        self._steps: dict[str, _Step] = {}
        self._live = Live(
            self, console=console, refresh_per_second=_REFRESHES_A_SECOND, transient=False
        )
        self._is_live = is_live(console)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing; the last state stays."""
        self.close()

    def close(self) -> None:
        """Stop drawing."""
        if self._is_live:
            self._live.stop()

    def begin(self, name: str) -> None:
        """Show that a step begins."""
        self._steps[name] = _Step(name, time.monotonic())

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Show that a step is done."""
        step = self._steps[name]
        step.detail, step.seconds = detail, seconds
        if not self._is_live:
            self._console.print(f"  {name}: {detail} ({seconds:.1f} s)", markup=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the steps."""
        table = Table.grid(padding=(0, 1))
        table.add_column(width=3, justify="right")
        table.add_column(no_wrap=True, min_width=17)
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        for step in self._steps.values():
            if step.seconds is None:
                elapsed = time.monotonic() - step.begun
                table.add_row(step.spinner, step.name, "", Text(f"{elapsed:.0f} s", style="dim"))
            else:
                table.add_row(
                    Text("✓", style="green"),
                    step.name,
                    Text(step.detail, style="dim"),
                    Text(f"{step.seconds:.1f} s", style="dim"),
                )
        yield table
