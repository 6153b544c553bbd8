"""Makes the images on worker threads, once for each photo with the same settings."""

import asyncio
import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from local.simulator.contract import Look
from local.simulator.photos import Photo
from local.simulator.render import draw, draw_plain
from local.simulator.tasks import Task


@dataclass(frozen=True, slots=True)
class Result:
    """A finished image: `file` holds its bytes, `size` is their number; width, height in pixels."""

    file: Path
    width: int
    height: int
    size: int
    media_type: str

    @property
    def extension(self) -> str:
        """The file extension of its format."""
        return "png" if self.media_type == "image/png" else "jpg"


@dataclass(frozen=True, slots=True)
class _Order:
    """The input of the images; without a photo, plain images are made."""

    photo: Path | None
    mask: Path | None
    look: Look
    count: int


class Studio:
    """Makes the results of tasks and keeps them as files, so that memory does not grow."""

    def __init__(self, folder: Path, workers: Executor) -> None:
        """Make images on `workers`, into `folder`."""
        self._folder = folder
        self._workers = workers
        self._orders: dict[_Order, asyncio.Future[tuple[Result, ...]]] = {}

    def clear(self) -> None:
        """Forget all images."""
        self._orders.clear()

    def results(self, task: Task) -> asyncio.Future[tuple[Result, ...]]:
        """Return a task's results; start to make them unless this was done before."""
        order = (
            _Order(None, None, task.look, task.batch_size)
            if task.plain
            else _Order(task.photo.file, _file(task.mask), task.look, task.batch_size)
        )
        if order not in self._orders:
            loop = asyncio.get_running_loop()
            self._orders[order] = loop.run_in_executor(self._workers, self._make, order)
        return self._orders[order]

    def _make(self, order: _Order) -> tuple[Result, ...]:
        if order.photo is None:
            pictures = [draw_plain(order.look)] * order.count
        else:
            pictures = draw(order.photo, order.mask, order.look, order.count)
        name = hashlib.sha256(repr(order).encode()).hexdigest()
        results = []
        for index, picture in enumerate(pictures, start=1):
            file = self._folder / f"{name}-{index}"
            file.write_bytes(picture.data)
            results.append(
                Result(file, picture.width, picture.height, len(picture.data), picture.media_type)
            )
        return tuple(results)


def _file(photo: Photo | None) -> Path | None:
    return None if photo is None else photo.file
