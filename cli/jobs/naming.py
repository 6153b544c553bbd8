"""File names for results: `{sku or photo}_{model}_{scene}_{n}.jpg`.

A photo whose own name begins with its SKU keeps that name: `SU-101_front` says more than `SU-101`.

The names are flat: they hold no folder. Every system can store them, and no two of them differ by
case alone. If two jobs would have the same names, the names of the one whose images came later hold
the beginning of its job id.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from shared.intake.photos import JPEG, PNG
from shared.models import Job, Result, SceneType
from shared.vmake.catalogue import MODELS

_EXTENSIONS: Final = {JPEG: "jpg", PNG: "png"}
_ID_CHARACTERS: Final = (8, 32)
"""How much of a job's id its names hold after a collision, and after a second one."""
_MAX_BYTES: Final = 150
"""UTF-8 bytes of the article or photo in a name: the whole name then fits in the 255 bytes of all
usual file systems, also with `.part` behind it."""
_MAX_PART_BYTES: Final = 24
"""UTF-8 bytes of the model, and of the scene; an id of the vendor's may be longer."""
_UNSAFE: Final = re.compile(r'[<>:"|?*\\/]')
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names of devices on Windows, with any extension."""
_EXTENSION: Final = re.compile(r"[A-Za-z0-9]{1,8}")

_SCENES: Final = {SceneType.ORIGINAL: "own-background", SceneType.NONE: "cut-out"}
"""Backgrounds as the gallery calls them: "original" would be taken for the photo itself."""


class FileNames:
    """Gives out file names; no two jobs have the same.

    The names of jobs that are known from the beginning do not depend on their order: the job whose
    first results came earliest has the plain name. So they are the same in each download of these
    jobs, whichever part of them is taken, and a job that comes later changes no name of an earlier
    one.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        """Name these jobs first; others get their names when they are asked for."""
        self._taken = set[str]()
        self._stems: dict[str, str] = {}
        known = [(*_first_results(job), _stem(job)) for job in jobs if job.results]
        for _, job_id, stem in sorted(known):
            self._stems[job_id] = self._free(stem, job_id)

    def of(self, job: Job) -> dict[int, str]:
        """Return the file names of all results of a job, by their index."""
        if not job.results:
            return {}
        if job.job_id not in self._stems:
            self._stems[job.job_id] = self._free(_stem(job), job.job_id)
        stem = self._stems[job.job_id]
        return {r.index: f"{stem}_{r.index}.{_extension(r)}" for r in job.results}

    def _free(self, stem: str, job_id: str) -> str:
        """Return the job's part of a name, which no other job has."""
        tails = ["", *(_safe(f"_{job_id[:length]}", 64) for length in _ID_CHARACTERS)]
        # Only an article whose name looks like one with an id needs more tries.
        more = (f"_({number})" for number in itertools.count(2))
        for tail in itertools.chain(tails, more):
            folded = _folded(f"{stem}{tail}")
            if folded not in self._taken:
                break
        self._taken.add(folded)
        return f"{stem}{tail}"


def _first_results(job: Job) -> tuple[str, str]:
    """Return what sorts jobs by the time of their first results."""
    attempts = (*job.history, job.as_past)
    times = (past.finished_at or job.created_at for past in attempts if past.results)
    return next(times, job.created_at), job.job_id


def safe_name(text: str, max_bytes: int = 255) -> str:
    """Return a text as a file name that every system can store, without any folder."""
    name = _safe(text, max_bytes).strip(". ") or "_"
    return f"_{name}" if name[0] == "-" or _RESERVED.fullmatch(name) else name


def _stem(job: Job) -> str:
    parts = [_safe(_article_of(job), _MAX_BYTES).strip(". ") or job.job_id[:8]]
    if job.settings is not None:
        model = job.settings.model_id
        scene = _SCENES.get(job.settings.scene_type, job.settings.scene)
        parts += [_safe(part, _MAX_PART_BYTES) for part in (MODELS.get(model, model), scene)]
    return safe_name("_".join(parts))


def _article_of(job: Job) -> str:
    """Return the SKU, or the photo's name if it begins with the SKU or there is no SKU."""
    photo = _photo_of(job)
    if not job.sku:
        return photo
    rest = photo[len(job.sku) :]
    named = photo.casefold() == f"{job.sku}{rest}".casefold()
    return f"{job.sku}{rest}" if named and not rest[:1].isalnum() else job.sku


def _photo_of(job: Job) -> str:
    """Return the photo's name without folder and extension; empty if it has none."""
    photo = job.photo
    address = (photo.url if photo is not None else "") or ""
    path = job.source_key or unquote(re.split("[?#]", address, maxsplit=1)[0])
    return PurePosixPath(path).stem if path.rpartition("/")[2] else ""


def _extension(result: Result) -> str:
    known = _EXTENSIONS.get(result.content_type)
    if known is not None:
        return known
    extension = PurePosixPath(result.key).suffix.removeprefix(".")
    return extension.lower() if _EXTENSION.fullmatch(extension) else "bin"


def _safe(text: str, max_bytes: int) -> str:
    letters = (c if c.isprintable() else "_" for c in unicodedata.normalize("NFC", text))
    name = _UNSAFE.sub("_", "".join(letters))
    return name.encode()[:max_bytes].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
