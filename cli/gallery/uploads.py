"""Photos that are dropped into the page: kept here, checked, and uploaded when the person says so.

    browser ──chunks──▶ spool folder ──"Start"──▶ PhotosBucket

Each file goes to a spool folder on this machine first, in chunks of a few MiB. A chunk that breaks
off is continued where it broke: the server says how far a file has arrived. `check` reads the
spooled files with the code of `catwalk drop`, so the person sees what would be rejected, what lies
in the bucket already, and the price. Nothing is sent to the bucket before `start`.

A photo is uploaded in one request, not in parts: only then is its ETag the one that `catwalk drop`
gives it, by which the same photo is known as the same job. So a broken upload sends its file again.
"""

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast

from botocore.exceptions import BotoCoreError, ClientError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cli.errors import CommandError, sentence
from cli.gallery import looks
from cli.gallery.access import Access
from cli.gallery.desk import Desk
from cli.gallery.forms import TOKEN_HEADER, answered, check_token, document_of, refusal_of
from cli.gallery.views import look_of
from cli.terminal.output import counted, credits_of, most_credits, warn
from cli.upload import parsing
from cli.upload.collect import Kind, Rules, Verdict, examine
from cli.upload.table import SkuPattern
from shared.intake.messages import MAX_KEY_BYTES
from shared.intake.photos import MAX_FOLDER_FILE_BYTES, content_type_of
from shared.intake.settings import FOLDER_FILE, MAX_ID, shown

if TYPE_CHECKING:
    pass

MOST_FILES: Final = 1_000
"""Files of one list."""
MOST_CHUNK_BYTES: Final = 8 * 2**20
_NEEDED_BYTES: Final = 4 * 2**20
"""So much of a file that is too large is kept: as much as a photo's header may take."""
_MOST_DOCUMENT_BYTES: Final = 256 * 1024
_MOST_LISTS: Final = 8
_ROOM_BYTES: Final = 256 * 2**20
"""What must stay free on the disk."""
_LARGEST_BYTES: Final = 2**40
_IDLE_SECONDS: Final = 2 * 3600.0
"""A list that nobody has touched for so long is forgotten."""
_STALE_SECONDS: Final = 24 * 3600.0
"""A spool folder of a gallery that did not end well is removed after this time."""
_UPLOADS_AT_ONCE: Final = 4
_LOOKUPS_AT_ONCE: Final = 8
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between the tries of one file, beside botocore's own: a laptop changes its network."""
_MAGIC_BYTES: Final = 16
_PIECE: Final = 1024 * 1024


class State(StrEnum):
    """Where a file is on its way to the bucket."""

    WAITING = "waiting"
    UPLOADING = "uploading"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"


@dataclass
class _File:
    """A file of a list, as far as it has arrived."""

    number: int
    path: str
    """Its name, and the folders that it was dropped with."""
    size: int
    spool: Path
    received: int = 0
    busy: bool = False
    md5: str = ""

    @property
    def whole(self) -> bool:
        return self.received >= self.size


@dataclass
class _Item:
    """A file that is being uploaded."""

    file: _File
    key: str
    kind: Kind
    metadata: dict[str, str]
    state: State = State.WAITING
    sent: int = 0
    why: str = ""


@dataclass(frozen=True)
class _Row:
    """A file as the list shows it."""

    file: _File
    key: str
    verdict: Verdict
    problem: str
    exists: str
    metadata: dict[str, str]
    sku: str

    @property
    def credits(self) -> int:
        return 0 if self.problem else self.verdict.variants

    def document(self) -> dict[str, Any]:
        settings = self.verdict.settings
        look = ""
        if settings is not None:
            look = f"{look_of(settings)} · {counted(settings.batch_size, 'image')}"
            more = self.verdict.variants - 1
            look += f", and {counted(more, 'other look')}" if more > 0 else ""
        kind = self.verdict.kind
        return {
            "number": self.file.number,
            "key": self.key,
            "kind": "" if kind is None else kind.value,
            "look": look,
            "sku": self.sku,
            "problem": self.problem,
            "exists": self.exists,
            "credits": self.credits,
        }


@dataclass
class _List:
    """The files that were dropped together."""

    name: str
    folder: Path
    most_bytes: int
    """Larger files are not kept whole."""
    files: dict[int, _File] = field(default_factory=dict)
    items: list[_Item] = field(default_factory=list)
    standing: dict[str, str] = field(default_factory=dict)
    """What was found under the keys in the bucket, read once a list and once more at its start."""
    touched: float = 0.0
    worker: threading.Thread | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def busy(self) -> bool:
        return self.worker is not None and self.worker.is_alive()


class _StoppedError(Exception):
    """An upload must end: the list was cancelled, or the gallery is closed."""


class Uploads:
    """Answers what the page's sheet of photos asks."""

    def __init__(
        self,
        access: Access,
        desk: Desk,
        *,
        pauses: Sequence[float] = _PAUSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take photos for this desk.

        Args:
            access: knows the pages' token.
            desk: where the photos go.
            pauses: seconds between the tries of one file.
            clock: the monotonic clock.

        """
        self._access = access
        self._desk = desk
        self._pauses = pauses
        self._clock = clock
        self._lists: dict[str, _List] = {}

    @property
    def routes(self) -> list[BaseRoute]:
        """What is answered here."""
        return [
            Route("/uploads", self.begin, methods=["POST"]),
            Route("/uploads/{list}", self.progress),
            Route("/uploads/{list}/files/{number:int}", self.received),
            Route("/uploads/{list}/files/{number:int}", self.take, methods=["PUT"]),
            Route("/uploads/{list}/check", self.check, methods=["POST"]),
            Route("/uploads/{list}/start", self.start, methods=["POST"]),
            Route("/uploads/{list}/retry", self.retry, methods=["POST"]),
            Route("/uploads/{list}/cancel", self.cancel, methods=["POST"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Remove what galleries left that did not end well, and at the end this one's files."""
        await run_in_threadpool(_remove_stale, self._desk.spool)
        try:
            yield
        finally:
            for each in list(self._lists.values()):
                self._forget(each)
                if left := _left(each):
                    warn(f"{left} before the gallery was closed; drop what is missing once more.")

    # --- files arrive ----------------------------------------------------------------------

    @answered
    async def begin(self, request: Request) -> Response:
        """Begin a list."""
        await document_of(request, self._access, most=_MOST_DOCUMENT_BYTES)
        made = await run_in_threadpool(self._begin)
        return JSONResponse({"list": made.name, "chunk": MOST_CHUNK_BYTES // 2})

    def _begin(self) -> _List:
        self._tidy()
        name = secrets.token_urlsafe(12)
        folder = self._desk.spool / name
        try:
            folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise CommandError(
                f"Photos cannot be kept in {self._desk.spool}: {error.strerror or error}.",
                "Make room there, or name another folder: XDG_CACHE_HOME.",
            ) from error
        made = _List(name, folder, self._desk.rules().max_photo_bytes, touched=self._clock())
        self._lists[name] = made
        return made

    @answered
    async def received(self, request: Request) -> Response:
        """Say how far a file has arrived."""
        file = self._list(request).files.get(request.path_params["number"])
        return JSONResponse({"received": 0 if file is None else file.received})

    @answered
    async def take(self, request: Request) -> Response:
        """Take a chunk of a file: from `offset` on, which is where the last one ended."""
        check_token(self._access, request.headers.get(TOKEN_HEADER, ""))
        which = self._list(request)
        if which.items:
            raise HTTPException(HTTPStatus.GONE, "This list has been started; begin another one.")
        file = self._file(which, request)
        offset = _number(request, "offset")
        if file.busy or offset != file.received:
            return JSONResponse({"received": file.received}, HTTPStatus.CONFLICT)
        file.busy = True
        try:
            await self._write(request, which, file)
        finally:
            file.busy = False
            which.touched = self._clock()
        return JSONResponse({"received": file.received})

    async def _write(self, request: Request, which: _List, file: _File) -> None:
        """Write a chunk; what has arrived of one that breaks off is kept."""
        begun = file.received
        # Without a buffer: what counts as received is in the file, also if the disk gets full.
        with file.spool.open("r+b", buffering=0) as spool:
            spool.seek(begun)
            async for piece in request.stream():
                if file.received + len(piece) > file.size:
                    raise HTTPException(
                        HTTPStatus.BAD_REQUEST, f"{shown(file.path)} is longer than it said."
                    )
                if file.received + len(piece) - begun > MOST_CHUNK_BYTES:
                    raise HTTPException(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"A chunk has at most {MOST_CHUNK_BYTES} bytes.",
                    )
                try:
                    await run_in_threadpool(_write_all, spool, piece)
                except OSError as error:
                    raise HTTPException(
                        HTTPStatus.INSUFFICIENT_STORAGE,
                        f"{shown(file.path)} cannot be kept on this machine: {error.strerror}.",
                    ) from error
                file.received += len(piece)
            # Its header is enough to say that it is too large.
            if file.size > which.most_bytes and file.received >= min(file.size, _NEEDED_BYTES):
                with suppress(OSError):
                    spool.truncate(min(file.size, _LARGEST_BYTES))
                file.received = file.size

    def _file(self, which: _List, request: Request) -> _File:
        number = request.path_params["number"]
        path, size = request.query_params.get("path", ""), _number(request, "size")
        if number in which.files:
            known = which.files[number]
            if (known.path, known.size) != (path, size):
                raise HTTPException(
                    HTTPStatus.BAD_REQUEST,
                    f"The file's number belongs to {shown(known.path)}; load the page anew.",
                )
            return known
        if len(which.files) >= MOST_FILES or number >= MOST_FILES:
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, f"A list has at most {MOST_FILES} files; drop fewer."
            )
        _check_path(path)
        if path.rpartition("/")[2] == FOLDER_FILE and size > MAX_FOLDER_FILE_BYTES:
            raise HTTPException(
                HTTPStatus.BAD_REQUEST,
                f"{shown(path)} is longer than {MAX_FOLDER_FILE_BYTES} bytes; make it shorter.",
            )
        free = shutil.disk_usage(which.folder).free - _ROOM_BYTES
        if min(size, which.most_bytes) > free:
            raise HTTPException(
                HTTPStatus.INSUFFICIENT_STORAGE,
                f"There is no room for {shown(path)} in {self._desk.spool}; make some.",
            )
        made = _File(number, path, size, which.folder / f"{number:04}")
        made.spool.touch(mode=0o600)
        which.files[number] = made
        return made

    # --- the list is checked ---------------------------------------------------------------

    @answered
    async def check(self, request: Request) -> Response:
        """Say what would become of each file, and what it costs."""
        document = await document_of(request, self._access, most=_MOST_DOCUMENT_BYTES)
        which = self._list(request)
        rows = await run_in_threadpool(self._rows, which, document)
        return JSONResponse(_told(rows))

    @answered
    async def start(self, request: Request) -> Response:
        """Upload what can be, if it costs what the sheet said."""
        document = await document_of(request, self._access, most=_MOST_DOCUMENT_BYTES)
        which = self._list(request)
        if which.items:
            # The second click of the same button.
            return JSONResponse(_progress(which))
        shown_standing = dict(which.standing)
        which.standing.clear()
        rows = await run_in_threadpool(self._rows, which, document)
        if which.items:
            return JSONResponse(_progress(which))
        price = sum(row.credits for row in rows)
        if price != document.get("credits"):
            now = {"message": f"It costs {credits_of(price)} by now; look again, then start."}
            return JSONResponse({**_told(rows), **now}, HTTPStatus.CONFLICT)
        came = sum(row.exists not in {"", shown_standing.get(row.key, "")} for row in rows)
        if came:
            words = f"{counted(came, 'file')} {'has' if came == 1 else 'have'}"
            now = {"message": f"{words} come into the bucket meanwhile; look again, then start."}
            return JSONResponse({**_told(rows), **now}, HTTPStatus.CONFLICT)
        good = [row for row in rows if not row.problem and row.verdict.kind is not None]
        if not any(row.verdict.kind is Kind.PHOTO for row in good):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "There is no photo that can be uploaded.")
        which.items = [
            _Item(row.file, row.key, row.verdict.kind, row.metadata)
            for row in good
            if row.verdict.kind is not None
        ]
        self._run(which)
        return JSONResponse(_progress(which))

    def _rows(self, which: _List, document: Mapping[str, Any]) -> list[_Row]:
        which.touched = self._clock()
        folder = _text(document, "folder", MAX_KEY_BYTES).strip("/ ")
        if folder:
            _check_path(folder)
        values = looks.metadata_of(looks.values_of(document))
        files = _chosen(which, document)
        skus = _skus(document, files)
        keys: dict[str, _File] = {}
        twice: list[_File] = []
        for file in files:
            key = f"{folder}/{file.path}" if folder else file.path
            if key in keys:
                twice.append(file)
            else:
                keys[key] = file
        rules = replace(self._desk.rules(), metadata=parsing.metadata(values))
        # What is left out does not count for the others either: a catwalk.json, or a mask.
        fit = {key: file for key, file in keys.items() if len(key.encode()) <= MAX_KEY_BYTES}
        verdicts = _examined(fit, rules)
        self._look_up(which, fit, verdicts)
        rows = []
        for key, file in keys.items():
            verdict = verdicts.get(key, Verdict(None))
            sku = skus[file.number]
            metadata = parsing.metadata({**values, **({"sku": sku} if sku else {})})
            problem = verdict.problem
            if key not in fit:
                problem = f"Its name and folder are longer than {MAX_KEY_BYTES} bytes."
            elif verdict.kind is None:
                problem = "Its name starts with a dot; it is left out."
            own = metadata if verdict.kind is Kind.PHOTO else {}
            rows.append(_Row(file, key, verdict, problem, which.standing.get(key, ""), own, sku))
        for file in twice:
            key = f"{folder}/{file.path}" if folder else file.path
            problem = "Another file of this list has the same name; rename one of them."
            rows.append(_Row(file, key, Verdict(None), problem, "", {}, ""))
        return sorted(rows, key=lambda row: row.file.number)

    def _look_up(
        self, which: _List, keys: Mapping[str, _File], verdicts: Mapping[str, Verdict]
    ) -> None:
        """Note which files would take the place of one in the bucket."""
        asked = [
            key
            for key in keys
            if key not in which.standing
            and not verdicts[key].problem
            and verdicts[key].kind is not None
        ]
        if not asked:
            return
        with ThreadPoolExecutor(_LOOKUPS_AT_ONCE) as pool:
            found = pool.map(lambda key: self._stands(key, keys[key]), asked)
            which.standing.update(zip(asked, found, strict=True))

    def _stands(self, key: str, file: _File) -> str:
        try:
            head = self._desk.s3.head_object(Bucket=self._desk.photos_bucket, Key=key)
        except ClientError as error:
            # 403 is what S3 says of a missing object to who must not list the bucket.
            if error.response["Error"].get("Code") in {"404", "403", "NoSuchKey", "AccessDenied"}:
                return ""
            raise
        file.md5 = file.md5 or _md5(file.spool)
        if head["ETag"].strip('"') == file.md5:
            return "It is in the bucket already. With the same settings nothing new is made."
        return "Another file of this name is in the bucket; it would be replaced."

    # --- the upload ------------------------------------------------------------------------

    @answered
    async def progress(self, request: Request) -> Response:
        """Say how far each file has been uploaded."""
        which = self._list(request)
        which.touched = self._clock()
        return JSONResponse(_progress(which))

    @answered
    async def retry(self, request: Request) -> Response:
        """Upload again what could not be uploaded."""
        await document_of(request, self._access, most=_MOST_DOCUMENT_BYTES)
        which = self._list(request)
        if which.items and not which.busy:
            for item in which.items:
                if item.state is State.FAILED:
                    item.state, item.sent, item.why = State.WAITING, 0, ""
            self._run(which)
        return JSONResponse(_progress(which))

    @answered
    async def cancel(self, request: Request) -> Response:
        """Forget a list; what is in the bucket stays there."""
        await document_of(request, self._access, most=_MOST_DOCUMENT_BYTES)
        await run_in_threadpool(self._forget, self._list(request))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _run(self, which: _List) -> None:
        which.worker = threading.Thread(target=self._upload_all, args=(which,), daemon=True)
        which.worker.start()

    def _upload_all(self, which: _List) -> None:
        try:
            self._upload_waiting(which)
        finally:
            failed = next((item for item in which.items if item.state is State.FAILED), None)
            # Its page may be closed by now.
            if failed is not None and not which.stop.is_set():
                warn(f"{_left(which)}: {failed.why} The gallery's page can try again.")

    def _upload_waiting(self, which: _List) -> None:
        waiting = [item for item in which.items if item.state is State.WAITING]
        # A mask or a catwalk.json must lie in the bucket before its photos.
        first = [item for item in waiting if item.kind is not Kind.PHOTO]
        photos = [item for item in waiting if item.kind is Kind.PHOTO]
        for item in first:
            self._upload(which, item)
        missing = next((item for item in first if item.state is State.FAILED), None)
        if missing is not None:
            for item in photos:
                item.state = State.FAILED
                item.why = f"It waits for {missing.file.path}, which could not be uploaded."
            return
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            list(pool.map(lambda item: self._upload(which, item), photos))
        if all(item.state is State.DONE for item in which.items):
            shutil.rmtree(which.folder, ignore_errors=True)

    def _upload(self, which: _List, item: _Item) -> None:
        """Upload a file; a connection that is lost is waited for."""
        try:
            self._try(which, item)
        finally:
            if item.state is not State.DONE:
                item.state = State.FAILED
                item.why = item.why or "It broke off; the gallery's terminal says more."

    def _try(self, which: _List, item: _Item) -> None:
        for pause in (*self._pauses, None):
            try:
                item.state, item.sent = State.UPLOADING, 0
                self._put(which, item)
            except _StoppedError:
                item.why = "It was stopped."
                return
            except (ClientError, BotoCoreError, OSError) as error:
                item.why = sentence(str(error)) if isinstance(error, OSError) else refusal_of(error)
                if pause is None or not _may_pass(error):
                    return
                item.state = State.RETRYING
                which.stop.wait(pause)
            else:
                item.state, item.sent, item.why = State.DONE, item.file.size, ""
                return

    def _put(self, which: _List, item: _Item) -> None:
        with suppress(OSError):
            os.utime(which.folder)  # another gallery, see `_remove_stale`
        with _Body(item, which.stop) as body:
            self._desk.s3.put_object(
                Bucket=self._desk.photos_bucket,
                Key=item.key,
                Body=cast("IO[bytes]", body),
                ContentType=body.content_type,
                Metadata=item.metadata,
            )

    # --- lists -----------------------------------------------------------------------------

    def _list(self, request: Request) -> _List:
        found = self._lists.get(request.path_params["list"])
        if found is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "This list of photos is gone; drop them once more."
            )
        return found

    def _forget(self, which: _List) -> None:
        which.stop.set()
        self._lists.pop(which.name, None)
        shutil.rmtree(which.folder, ignore_errors=True)

    def _tidy(self) -> None:
        """Forget lists that nobody uses any more, and the oldest of too many."""
        idle = sorted(
            (each for each in list(self._lists.values()) if not each.busy),
            key=lambda each: each.touched,
        )
        late = self._clock() - _IDLE_SECONDS
        for place, each in enumerate(idle):
            if each.touched < late or place <= len(idle) - _MOST_LISTS:
                self._forget(each)


class _Body:
    """A file that tells how far it was read, and raises once the upload must stop."""

    def __init__(self, item: _Item, stop: threading.Event) -> None:
        self._item = item
        self._stop = stop
        self._file = item.file.spool.open("rb")
        head = self._file.read(_MAGIC_BYTES)
        self._file.seek(0)
        self.content_type = content_type_of(head) or "application/octet-stream"
        if item.kind is Kind.FOLDER_FILE:
            self.content_type = "application/json"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Self:
        """Pass for a file: botocore only asks whether this exists, and then reads."""
        return self

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise _StoppedError
        data = self._file.read(size)
        self._item.sent = self._file.tell()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _examined(keys: Mapping[str, _File], rules: Rules) -> dict[str, Verdict]:
    try:
        return examine({key: file.spool for key, file in keys.items()}, rules)
    except CommandError as error:
        # It speaks of files as the command line knows them.
        text, advice = str(error), error.next_step
        for file in keys.values():
            text = text.replace(str(file.spool), file.path)
        raise CommandError(text, advice) from error


def _told(rows: Sequence[_Row]) -> dict[str, Any]:
    """Return a checked list, as the sheet shows it."""
    price = sum(row.credits for row in rows)
    photos = sum(row.verdict.kind is Kind.PHOTO and not row.problem for row in rows)
    others = sum(row.verdict.kind not in {None, Kind.PHOTO} and not row.problem for row in rows)
    words = counted(photos, "photo") + (f" and {counted(others, 'other file')}" if others else "")
    return {
        "rows": [row.document() for row in rows],
        "photos": photos,
        "rejected": sum(bool(row.problem) for row in rows),
        "credits": price,
        "price": most_credits(price),
        "sentence": f"{words}: {most_credits(price)}",
    }


def _progress(which: _List) -> dict[str, Any]:
    """Return how far a list has been uploaded."""
    done = [item for item in which.items if item.state is State.DONE]
    photos = [item for item in which.items if item.kind is Kind.PHOTO]
    uploaded = sum(item.kind is Kind.PHOTO for item in done)
    failed = sum(item.state is State.FAILED for item in which.items)
    words = f"{uploaded} of {counted(len(photos), 'photo')} uploaded"
    return {
        "started": bool(which.items),
        "busy": which.busy,
        "failed": failed,
        "done": len(done) == len(which.items) and bool(which.items),
        "sentence": f"{words}, {failed} failed." if failed else f"{words}.",
        "files": [
            {
                "number": item.file.number,
                "path": item.file.path,
                "sent": min(item.sent, item.file.size),
                "size": item.file.size,
                "state": item.state.value,
                "why": item.why,
            }
            for item in which.items
        ],
    }


def _left(which: _List) -> str:
    """Return how many files of a started list are not in the bucket; empty if all are."""
    left = sum(item.state is not State.DONE for item in which.items)
    verb = "was" if len(which.items) == 1 else "were"
    return f"{left} of {counted(len(which.items), 'file')} {verb} not uploaded" if left else ""


def _chosen(which: _List, document: Mapping[str, Any]) -> list[_File]:
    numbers = document.get("files")
    if not isinstance(numbers, list) or not numbers or not all(type(n) is int for n in numbers):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The list has no files.")
    files = []
    for number in dict.fromkeys(numbers):
        file = which.files.get(number)
        if file is None or not file.whole:
            raise HTTPException(HTTPStatus.CONFLICT, "Some of the files have not arrived yet.")
        files.append(file)
    return files


def _skus(document: Mapping[str, Any], files: Sequence[_File]) -> dict[int, str]:
    """Return the SKU of each file: its own, else the one for all, which may be a pattern.

    Raises:
        CommandError: a pattern does not say where the article is.

    """
    for_all = _text(document, "sku", MAX_ID)
    own = document.get("skus", {})
    if not isinstance(own, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "skus is no JSON object.")
    pattern = _pattern(for_all)

    def sku_of(file: _File) -> str:
        named = pattern.sku_of(file.path.rpartition("/")[2]) if pattern is not None else for_all
        return _text(own, str(file.number), MAX_ID) or (named or "")[:MAX_ID]

    return {file.number: sku_of(file) for file in files}


def _pattern(text: str) -> SkuPattern | None:
    if not {"{", "}", "*"} & set(text):
        return None
    try:
        return SkuPattern.of(text)
    except CommandError as error:
        # It names the option of the command line.
        raise CommandError(str(error).removeprefix("--sku-from "), error.next_step) from error


def _text(document: Mapping[str, Any], name: str, most: int) -> str:
    value = document.get(name, "")
    what = "SKU" if name != "folder" else "folder"
    if not isinstance(value, str) or len(value) > most:
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"The {what} may have at most {most} characters."
        )
    if not value.isprintable():
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The {what} {shown(value)} has characters that cannot be printed; type it again.",
        )
    return value.strip()


def _check_path(path: str) -> None:
    parts = path.split("/")
    odd = not path.isprintable() or len(path.encode(errors="replace")) > MAX_KEY_BYTES
    if odd or any(part in {"", ".", ".."} for part in parts):
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{shown(path)} cannot be a name in the bucket."
        )


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(_LARGEST_BYTES)):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} must be a number of bytes.")
    return int(text)


def _write_all(file: FileIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


def _md5(file: Path) -> str:
    # S3's ETag of an object that was put in one request.
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _may_pass(error: Exception) -> bool:
    """Whether trying again later can help."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status) >= HTTPStatus.INTERNAL_SERVER_ERROR
    return True


def _remove_stale(spool: Path) -> None:
    late = time.time() - _STALE_SECONDS
    with suppress(OSError):
        for folder in spool.iterdir():
            if folder.is_dir() and folder.stat().st_mtime < late:
                shutil.rmtree(folder, ignore_errors=True)
