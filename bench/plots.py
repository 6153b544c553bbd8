"""The style of Catwalk's plots; only this module imports matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from matplotlib import pyplot as plt

from bench.figures import OUT

OURS: Final = "#b3123f"
OTHERS: Final = ("#3a5a78", "#8a9ba8", "#c98a2b", "#5d7a3e")
LIMIT: Final = "#222222"

_STYLE: Final[dict[str, Any]] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


@contextmanager
def plot(name: str, *, size: tuple[float, float] = (7.0, 4.2), columns: int = 1) -> Iterator[Any]:
    """Yield axes to draw on, and save the picture as `bench/out/<name>.png`."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained")
        yield axes
        OUT.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture(name))
        plt.close(figure)


def picture(name: str) -> Path:
    """Return where a plot is kept."""
    return OUT / f"{name}.png"
