"""File names for results: `{sku or photo}_{model}_{scene}_{n}.jpg`.

The names are flat: they hold no folder. Every system can store them, and no two of them differ by
case alone. If two jobs would have the same names, the second one's names hold the beginning of its
job id.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from shared.intake.photos import JPEG, PNG
from shared.models import Job, Result
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


class FileNames:
    """Gives out file names, each once.

    The names of a job depend on the jobs before it. For the same names each time, give the jobs in
    the same order, as `file_names` does.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        """Give out none of the reserved names."""
        self._taken = {_folded(name) for name in reserved}

    def of(self, job: Job, results: Sequence[Result] | None = None) -> dict[int, str]:
        """Return the file names of a job's results by their index.

        Args:
            job: the job.
            results: those to name; `job.wanted_results` if not given.

        """
        wanted = job.wanted_results if results is None else results
        stem = _stem(job)
        tails = [f"_{job.job_id[:length]}" for length in _ID_CHARACTERS]
        number = 2
        tail = ""
        while True:
            names = {r.index: f"{stem}{tail}_{r.index}.{_extension(r)}" for r in wanted}
            folded = {_folded(name) for name in names.values()}
            if not folded & self._taken:
                self._taken |= folded
                return names
            if tails:
                tail = _safe(tails.pop(0), _MAX_PART_BYTES * 2)
            else:
                # Only another name that looks like an id can be in the way.
                tail, number = f"_({number})", number + 1


def file_names(jobs: Iterable[Job]) -> Mapping[str, Mapping[int, str]]:
    """Return the file names of the wanted results of these jobs, by job id and index.

    The same jobs get the same names in any order. A job that is created later changes no name of
    an earlier one.
    """
    names = FileNames()
    oldest_first = sorted(jobs, key=lambda job: (job.created_at, job.job_id))
    return {job.job_id: names.of(job) for job in oldest_first}


def safe_name(text: str, max_bytes: int = 255) -> str:
    """Return a text as a file name that every system can store, without any folder."""
    name = _safe(text, max_bytes).strip(". ") or "_"
    return f"_{name}" if name[0] == "-" or _RESERVED.fullmatch(name) else name


def _stem(job: Job) -> str:
    parts = [_safe(job.sku or _photo_of(job), _MAX_BYTES).strip(". ") or job.job_id[:8]]
    if job.settings is not None:
        model = job.settings.model_id
        parts += [
            _safe(part, _MAX_PART_BYTES) for part in (MODELS.get(model, model), job.settings.scene)
        ]
    return safe_name("_".join(parts))


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
