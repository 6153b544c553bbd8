"""Writes the contact sheet, job by job, so that memory does not grow with their number."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO
from urllib.parse import urlsplit

import jinja2

from cli.gallery.images import Picture
from cli.sheet.copies import NoCopyError, small_copy
from cli.terminal.words import (
    REVIEW_WORDS,
    STATUS_WORDS,
    model_word,
    scene_word,
)
from shared.models import Job, Photo, Result, ReviewState

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE: Final = 8
"""Objects that are read in parallel."""
_AHEAD: Final = 8
"""Jobs whose copies are in memory at the same time."""


@dataclass(frozen=True)
class Image:
    """An image on the sheet, or why it cannot be shown."""

    label: str
    alt: str
    uri: str = field(default="", repr=False)
    note: str = ""
    mark: str = ""
    """`chosen`, `refused` or empty."""


@dataclass(frozen=True)
class Card:
    """A job on the sheet."""

    name: str
    folder: str
    sku: str
    model: str
    scene: str
    review: str
    state: str
    """A class of the style sheet: to_review, approved, refused."""
    photo: Image
    results: Sequence[Image]


@dataclass
class Sheet:
    """A contact sheet of these jobs."""

    title: str
    subtitle: str
    jobs: Sequence[Job]
    s3: "S3Client"
    tick: Callable[[], None] = lambda: None
    """Called for each job that was written."""
    not_shown: int = 0
    """How many images could not be shown."""

    def write(self, output: TextIO) -> None:
        """Write it."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        without = [(name_of(job), STATUS_WORDS[job.status]) for job in self.jobs if not job.results]
        template = environment.get_template("sheet.html")
        output.writelines(
            template.generate(
                title=self.title, subtitle=self.subtitle, cards=self._cards(), without=without
            )
        )

    def _cards(self) -> Iterator[Card]:
        jobs = (job for job in self.jobs if job.results)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while some := list(islice(jobs, _AHEAD)):
                wanted = [(job, result) for job in some for result in (None, *job.results)]
                images = pool.map(lambda pair: self._image(*pair), wanted)
                for job in some:
                    photo, *results = islice(images, 1 + len(job.results))
                    self.not_shown += sum(bool(image.note) for image in results)
                    yield _card(job, photo, results)
                    self.tick()

    def _image(self, job: Job, result: Result | None) -> Image:
        """Return an image of a job; its photo if no result is given."""
        if result is None:
            label, alt, mark = "Photo", f"Photo {name_of(job)}", ""
            picture = Picture.of_photo(job.photo) if job.photo else None
        else:
            label, alt = str(result.index), f"Image {result.index} of {name_of(job)}"
            picture, mark = Picture.of_result(result), _mark(job, result.index)
        if picture is None:
            return Image(label, alt, note=_address(job.photo))
        try:
            return Image(label, alt, small_copy(self.s3, picture), mark=mark)
        except NoCopyError as error:
            return Image(label, alt, note=str(error), mark=mark)


def name_of(job: Job) -> str:
    """Return what a job's photo is called."""
    key = job.source_key or ""
    return key.rpartition("/")[2] or key or "A request"


def _card(job: Job, photo: Image, results: Sequence[Image]) -> Card:
    state = job.review_state or ReviewState.TO_REVIEW
    by = f" by {job.review.by}" if job.review and state is not ReviewState.TO_REVIEW else ""
    return Card(
        name=name_of(job),
        folder=(job.source_key or "").rpartition("/")[0].strip("/"),
        sku=job.sku or "",
        model=model_word(job.settings.model_id) if job.settings else "",
        scene=scene_word(job.settings) if job.settings else "",
        review=f"{REVIEW_WORDS[state]}{by}",
        state=state.value,
        photo=photo,
        results=results,
    )


def _mark(job: Job, index: int) -> str:
    if job.review is None:
        return ""
    if index in job.review.chosen:
        return "chosen"
    return "refused" if index in job.review.refused else ""


def _address(photo: Photo | None) -> str:
    """Return where a photo by URL is; its query is left out, because it may hold a signature."""
    try:
        host = urlsplit(photo.url or "").hostname if photo else None
    except ValueError:  # a backend may have written anything
        host = None
    return f"Photo at {host}" if host else "No photo"
