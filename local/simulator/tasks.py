"""The tasks, their progress, and their charges. Times are seconds of the monotonic clock."""

import hmac
import math
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from local.simulator.contract import CreateRequest, Look
from local.simulator.faults import Fault
from local.simulator.photos import Photo, is_url, without_query
from local.simulator.reports import ChargesReport, TaskReport, moment
from local.simulator.settings import Settings

_PENDING_SHARE: Final = 0.08
"""The share of its duration in which a task is pending."""


@dataclass(frozen=True, slots=True)
class View:
    """The state that a read returns: `status`, `message` (reference), `progress` in per cent."""

    status: str
    progress: int
    message: str


@dataclass(slots=True)
class Task:
    """An accepted task; `seconds` is its duration.

    `body` is the request's body without image data; `image_url` has no query. With `plain`, the
    images are not made from the photo. `issued` holds the time of each set of download URLs.
    `faults` holds the faults that stay with the task, by name, and since when.
    """

    id: str
    body: dict[str, Any]
    look: Look
    batch_size: int
    image_url: str | None
    photo: Photo
    mask: Photo | None
    plain: bool
    accepted: float
    accepted_at: datetime
    seconds: float
    reads: int = 0
    downloads: Counter[int] = field(default_factory=Counter)
    issued: list[float] = field(default_factory=list)
    faults: dict[str, tuple[Fault, float]] = field(default_factory=dict)

    def view(self, now: float) -> View:
        """Return its state. `success` means that its time is over; the images may be unfinished."""
        share = 1.0 if self.seconds == 0 else min(1.0, (now - self.accepted) / self.seconds)
        if "stuck" in self.faults:
            fault, since = self.faults["stuck"]
            lasts: float | None = fault.params["seconds"]
            if lasts is None or now < since + lasts:
                percent = min(_progress(share), fault.params["percent"])
                return View("running", percent, "Generating the images")
        if share < _PENDING_SHARE:
            return View("pending", 0, "Waiting in the queue")
        if share < 1:
            return View("running", _progress(share), "Generating the images")
        if "task_error" in self.faults:
            return View("error", 100, self.faults["task_error"][0].params["message"])
        return View("success", 100, "Done")

    def report(self, now: float) -> TaskReport:
        """Return it as JSON, without image data."""
        view = self.view(now)
        return {
            "task_id": self.id,
            "accepted_at": moment(self.accepted_at),
            "status": view.status,
            "progress": view.progress,
            "reads": self.reads,
            "downloads": {str(index): count for index, count in sorted(self.downloads.items())},
            "photo": self.photo.report(),
            "mask": None if self.mask is None else self.mask.report(),
            "request": self.body,
        }


class TaskBook:
    """All accepted tasks; each costs one credit, for any `batchSize` (reference)."""

    def __init__(self, seed: int) -> None:
        """Start empty; `seed` is for the variation of durations."""
        self._seed = seed
        self._secret = uuid.uuid4().bytes
        self.clear()

    def clear(self) -> None:
        """Remove all tasks and charges."""
        self.tasks: dict[str, Task] = {}
        # For a demo, not for secrets.
        self._random = random.Random(self._seed)  # noqa: S311

    def accept(
        self,
        body: dict[str, Any],
        request: CreateRequest,
        *,
        photo: Photo,
        mask: Photo | None,
        settings: Settings,
        now: float,
    ) -> Task:
        """Accept and charge a task. Its id is random, so that a restart never repeats an id."""
        task = Task(
            id=str(uuid.uuid4()),
            body=_without_images(body),
            look=request.look,
            batch_size=request.batch_size,
            image_url=without_query(request.image) if is_url(request.image) else None,
            photo=photo,
            mask=mask,
            plain=settings.plain_results,
            accepted=now,
            accepted_at=datetime.now(UTC),
            seconds=settings.seconds
            * self._random.uniform(1 - settings.jitter, 1 + settings.jitter),
        )
        self.tasks[task.id] = task
        return task

    def charges(self) -> ChargesReport:
        """Return the number of charges, in total and by photo."""
        photos = [task.photo for task in self.tasks.values()]
        return {
            "total": len(photos),
            "by_sha256": dict(Counter(photo.sha256 for photo in photos)),
            "by_path": dict(Counter(photo.url_path for photo in photos if photo.url_path)),
        }

    def token(self, task: Task, index: int, url_set: int) -> str:
        """Return the secret part of a download URL: the number of its set, and a signature."""
        text = f"{task.id}/{index}/{url_set}".encode()
        return f"{url_set:04x}{hmac.digest(self._secret, text, 'sha256').hex()[:16]}"

    def url_set(self, task: Task, index: int, token: str) -> int | None:
        """Return the number of a token's set, or None if the token was never issued."""
        try:
            url_set = int(token[:-16], 16)
        except ValueError:
            return None
        issued = 1 <= url_set <= len(task.issued)
        return url_set if issued and token == self.token(task, index, url_set) else None


def _progress(share: float) -> int:
    """Return the progress after a share of the duration, slow at both ends and at most 99."""
    running = max(0.0, (share - _PENDING_SHARE) / (1 - _PENDING_SHARE))
    return min(99, int(100 * (0.5 - 0.5 * math.cos(math.pi * running))))


def _without_images(body: dict[str, Any]) -> dict[str, Any]:
    shown = dict(body)
    for name in ("image", "mask"):
        value = shown.get(name)
        if isinstance(value, str):
            shown[name] = (
                without_query(value) if is_url(value) else f"<base64, {len(value)} characters>"
            )
    return shown
