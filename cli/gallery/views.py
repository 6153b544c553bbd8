"""What the pages show of a job, in a person's words; the templates only lay it out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from cli.gallery.images import Picture, Pictures, Seal
from cli.jobs.browse import Filter
from cli.terminal.words import STATUS_WORDS
from shared.intake.photos import JPEG, PNG
from shared.models import Job, JobStatus, ReviewState, SceneType, Settings
from shared.records.ledger import folder_of
from shared.vmake.catalogue import MODELS

_PICTURES: Final = (".jpg", ".jpeg", ".png")
_BY_URL: Final = "A photo by URL"
UNDER_WAY: Final = frozenset({JobStatus.ACCEPTED, JobStatus.SUBMITTING, JobStatus.RUNNING})


@dataclass(frozen=True)
class StatusWord:
    """A status as it is told."""

    word: str
    tone: str
    """A class of the style sheet: good, bad, doubt, busy, off."""


@dataclass(frozen=True)
class Choice:
    """A chip above the grid: jobs of these statuses, or with this decision about their results."""

    label: str
    statuses: frozenset[JobStatus] = frozenset()
    review: ReviewState | None = None


_TONES: Final = {
    JobStatus.ACCEPTED: "busy",
    JobStatus.SUBMITTING: "busy",
    JobStatus.SUBMIT_UNKNOWN: "doubt",
    JobStatus.RUNNING: "busy",
    JobStatus.SUCCEEDED: "good",
    JobStatus.PARTIAL: "doubt",
    JobStatus.FAILED: "bad",
    JobStatus.REJECTED: "bad",
}
STATUS: Final = {status: StatusWord(STATUS_WORDS[status], tone) for status, tone in _TONES.items()}
REVIEWED: Final = {
    ReviewState.APPROVED: StatusWord("Approved", "good"),
    ReviewState.REFUSED: StatusWord("Refused", "off"),
}
"""What a job with results is called instead, once somebody has decided."""
CHOICES: Final = {
    "": Choice("All"),
    "running": Choice("Running", UNDER_WAY),
    "done": Choice("Done", frozenset({JobStatus.SUCCEEDED})),
    "partial": Choice("Partly done", frozenset({JobStatus.PARTIAL})),
    "failed": Choice("Failed", frozenset({JobStatus.FAILED})),
    "rejected": Choice("Rejected", frozenset({JobStatus.REJECTED})),
    "unknown": Choice("Needs you", frozenset({JobStatus.SUBMIT_UNKNOWN})),
    "to-review": Choice("To review", review=ReviewState.TO_REVIEW),
    "approved": Choice("Approved", review=ReviewState.APPROVED),
    "refused": Choice("Refused", review=ReviewState.REFUSED),
}
"""What `status` may be in the grid's address, beside the statuses' own names."""


@dataclass(frozen=True)
class Asked:
    """What an address of the grid asks for."""

    status: str = ""
    folder: str = ""
    sku: str = ""
    model: str = ""
    scene: str = ""
    q: str = ""
    sort: str = ""
    """`name`, or empty for the newest first."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Read an address's query; a status that there is not is none."""
        values = {name: query.get(name, "").strip() for name in cls.__dataclass_fields__}
        status = values["status"].lower()
        named = {name.value.lower(): name.value.lower() for name in JobStatus}
        values["status"] = status if status in CHOICES else named.get(status, "")
        values["sort"] = values["sort"] if values["sort"] == "name" else ""
        return cls(**values)

    @property
    def filter(self) -> Filter:
        """Which jobs these are."""
        choice = CHOICES.get(self.status)
        if choice is None:
            choice = Choice(self.status, frozenset({JobStatus(self.status.upper())}))
        return Filter(
            statuses=choice.statuses,
            review=choice.review,
            folder=self.folder or None,
            sku=self.sku or None,
            model=self.model or None,
            scene=self.scene or None,
            text=self.q,
        )

    @property
    def narrow(self) -> bool:
        """Whether anything is asked for but everything."""
        return replace(self, sort="") != Asked()

    def url(self, path: str = "/", **changes: str) -> str:
        """Return the address of this, or of a change of it; `after` and the like may be added."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        pairs = {name: value for name, value in {**own, **changes}.items() if value}
        return f"{path}?{urlencode(pairs)}" if pairs else path


@dataclass(frozen=True)
class Image:
    """An image on a page."""

    small: str
    """For the filmstrip; addresses."""
    card: str
    large: str
    original: str
    download: str
    alt: str
    width: int | None = None
    height: int | None = None
    label: str = ""
    mark: str = ""
    """What a person decided about this result: chosen, refused or nothing."""


@dataclass(frozen=True)
class Card:
    """A job in the grid."""

    id: str
    url: str
    version: str
    """Changes with anything that is shown."""
    seen: str
    """Attempt and review that are shown; a decision goes by them."""
    live: bool
    """Whether it changes by itself."""
    name: str
    folder: str
    status: StatusWord
    progress: int | None
    look: str
    sku: str
    created_at: str
    photo: Image | None
    photo_note: str
    """What stands in a photo's place that cannot be shown."""
    results: tuple[Image, ...]
    lead: int
    """Which result is shown first, from 0: the first one that is chosen or not refused."""
    cut_out: bool
    message: str
    """Why there are no images (yet)."""


@dataclass(frozen=True)
class Shower:
    """Makes what is shown of jobs; pictures get addresses that this gallery knows again."""

    seal: Seal
    pictures: Pictures = field(repr=False)

    def card(self, job: Job, *, paused: bool = False) -> Card:
        """Return a job as the grid shows it.

        Args:
            job: the job.
            paused: whether the page has a banner that says why all photos wait.

        """
        photo = self.photo(job)
        waits = paused and job.waiting is not None
        return Card(
            id=job.job_id,
            url=job_url(job),
            version=version_of(job),
            seen=seen_of(job),
            live=job.status in UNDER_WAY,
            name=name_of(job),
            folder=folder_of(job.source_key or "").strip("/"),
            status=status_of(job),
            progress=progress_of(job),
            look=look_of(job.settings),
            sku=job.sku or "",
            created_at=job.created_at,
            photo=photo,
            photo_note="" if photo else photo_note(job),
            results=self.results(job),
            lead=_lead(job),
            cut_out=cut_out(job.settings),
            message="It goes on by itself." if waits else message_of(job),
        )

    def photo(self, job: Job) -> Image | None:
        """Return a job's photo; None where there is nothing that could be shown."""
        picture = Picture.of_photo(job.photo) if job.photo else None
        if job.photo is None or picture is None:
            return None
        extension = PurePosixPath(picture.key).suffix.lower()
        if picture.kind not in {JPEG, PNG} and extension not in _PICTURES:
            return None
        alt = f"Photo {picture.name}"
        return self._image(picture, alt, size=(job.photo.width, job.photo.height))

    def results(self, job: Job, versions: Mapping[int, str] | None = None) -> tuple[Image, ...]:
        """Return a job's results, in order; of those versions where that is said."""
        # Of a job that is partly done, some are missing: its results keep their numbers.
        count = max(job.settings.batch_size if job.settings else 0, len(job.results))
        return tuple(
            self._image(
                Picture.of_result(result, (versions or {}).get(result.index)),
                f"Result {result.index} of {count} of {name_of(job)}, {look_of(job.settings)}",
                size=(result.width, result.height),
                label=str(result.index),
                mark=mark_of(job, result.index),
            )
            for result in job.results
        )

    def earlier(self, job: Job) -> list[tuple[int, tuple[Image, ...]]]:
        """Return attempts before the present one and what is left of their results, newest first.

        A later attempt's results lie under the same keys: its versions are looked for. An attempt
        that later ones went on with, for the same task, has no results of its own.
        """
        found, tasks = [], {job.task_id}
        for past in reversed(job.history):
            if past.task_id in tasks:
                continue
            tasks.add(past.task_id)
            versions = self.pictures.older(past)
            there = tuple(result for result in past.results if result.index in versions)
            if there:
                then = job.model_copy(update={"results": there})
                found.append((past.attempt, self.results(then, versions)))
        return found

    def _image(
        self,
        picture: Picture,
        alt: str,
        *,
        size: tuple[int | None, int | None] = (None, None),
        label: str = "",
        mark: str = "",
    ) -> Image:
        name = self.seal.name(picture)
        return Image(
            small=f"/small/160/{name}",
            card=f"/small/480/{name}",
            large=f"/small/1600/{name}",
            original=f"/original/{name}",
            download=f"/original/{name}?download=1",
            alt=alt,
            width=size[0],
            height=size[1],
            label=label,
            mark=mark,
        )


def _lead(job: Job) -> int:
    wanted = {result.index for result in job.wanted_results}
    places = (place for place, result in enumerate(job.results) if result.index in wanted)
    return next(places, 0)


def mark_of(job: Job, index: int) -> str:
    """Return what was decided about one result: chosen, refused or nothing."""
    if job.review is None:
        return ""
    if index in job.review.chosen:
        return "chosen"
    return "refused" if index in job.review.refused else ""


def job_url(job: Job) -> str:
    """Return the address of a job's page."""
    return f"/jobs/{quote(job.job_id, safe='')}"


def version_of(job: Job) -> str:
    """Return what changes whenever a job does."""
    review = job.review.revision if job.review else 0
    return f"{job.attempt}-{job.status.value}-{job.progress}-{job.updated_at}-{review}"


def seen_of(job: Job) -> str:
    """Return the attempt and the revision of its review that a page shows of a job."""
    return f"{job.attempt}.{job.review.revision if job.review else 0}"


def name_of(job: Job) -> str:
    """Return what a job's photo is called."""
    key = job.source_key or ""
    return key.rpartition("/")[2] or key or "A request without a photo"


def status_of(job: Job) -> StatusWord:
    """Return a job's status in a word or two."""
    reviewed = REVIEWED.get(job.review_state) if job.review_state else None
    if reviewed is not None:
        return reviewed
    status = STATUS[job.status]
    if job.sendable and job.waiting is not None:
        return replace(status, word="Waiting")
    if job.status is JobStatus.RUNNING and job.resumed_at is not None:
        return replace(status, word="Fetching again")
    return status


def progress_of(job: Job) -> int | None:
    """Return how far the vendor's task is, in per cent; None if nothing is being made.

    A job that fetches the results of a paid task again has no progress of its own.
    """
    making = job.status is JobStatus.RUNNING and job.resumed_at is None
    return job.progress if making else None


def model_of(model_id: str) -> str:
    """Return a model's name; its id where it has none."""
    return MODELS.get(model_id, f"Model {model_id}")


def scene_of(settings: Settings) -> str:
    """Return a scene in words."""
    match settings.scene_type:
        case SceneType.ORIGINAL:
            return "Own background"
        case SceneType.NONE:
            return "Cut out"
        case SceneType.PRESET:
            return f"Scene {settings.scene_id}"
        case SceneType.COLOR:
            return f"On {settings.color}"


def mask_of(settings: Settings) -> str:
    """Return a mask's key, or its address without what may sign it."""
    mask = settings.mask or ""
    if "://" not in mask:
        return mask
    try:
        address = urlsplit(mask)
    except ValueError:  # whoever asked may have written anything
        return "An address"
    return f"{address.scheme}://{address.hostname or ''}{address.path}"


def look_of(settings: Settings | None) -> str:
    """Return model and scene in words; empty where settings could not be read."""
    if settings is None:
        return ""
    return f"{model_of(settings.model_id)} · {scene_of(settings)}"


def cut_out(settings: Settings | None) -> bool:
    """Whether results have no background."""
    return settings is not None and settings.scene_type is SceneType.NONE


def photo_note(job: Job) -> str:
    """Return what stands in a photo's place: where it is, or what kind of file."""
    if job.photo is not None and job.photo.url:
        try:
            return urlsplit(job.photo.url).hostname or _BY_URL
        except ValueError:  # whoever asked may have written anything
            return _BY_URL
    suffix = PurePosixPath(job.source_key or "").suffix.lstrip(".").upper()
    return suffix[:5] or "No photo"


def message_of(job: Job) -> str:
    """Return why a job has no images, or not all; empty where that needs no words."""
    if job.error is not None:
        return job.error.message
    if job.waiting is not None:
        return job.waiting.reason
    return ""
