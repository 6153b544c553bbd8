"""Reads photos and masks from URLs or base64, checks them, and keeps them in a folder."""

import asyncio
import base64
import binascii
import hashlib
import io
import os
import ssl
import warnings
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
from PIL import Image

from local.simulator.contract import RefusedError
from local.simulator.reports import PhotoReport
from local.simulator.settings import SettingsError

MAX_PHOTO_BYTES: Final = 64 * 1024 * 1024
MAX_PIXELS: Final = 120_000_000
"""The simulator's own limits, which protect its memory; the vendor's are not documented."""

FETCH_SECONDS: Final = 30.0
"""The download of one photo may take this long in total."""

_OK: Final = 200
_FORMATS: Final = ("JPEG", "PNG")
_DECODED_PIXELS: Final = 1024
_KEPT_RESULTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Photo:
    """A readable JPEG or PNG in the simulator's folder; width and height in pixels, as stored.

    `url_path` is the decoded path of its URL, or None for base64.
    """

    sha256: str
    file: Path
    format: str
    width: int
    height: int
    url_path: str | None = None

    def report(self) -> PhotoReport:
        """Return it as JSON."""
        return {
            "sha256": self.sha256,
            "path": self.url_path,
            "format": self.format,
            "width": self.width,
            "height": self.height,
        }


def is_url(reference: str) -> bool:
    """Return whether a reference is a URL; else it is base64 data."""
    return reference.lower().startswith(("http://", "https://"))


def without_query(url: str) -> str:
    """Return a decoded URL without its query, which may hold a signature."""
    return unquote(url.partition("?")[0])


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that trusts the usual authorities and a PEM bundle, for a local S3.

    The bundle is `ca_bundle`, or else those that AWS_CA_BUNDLE and SSL_CERT_FILE name.
    """
    context = httpx.create_ssl_context(trust_env=False)
    named = (
        [ca_bundle]
        if ca_bundle
        else [os.environ.get("AWS_CA_BUNDLE"), os.environ.get("SSL_CERT_FILE")]
    )
    for bundle in named:
        if bundle:
            try:
                context.load_verify_locations(bundle)
            except OSError as problem:
                raise SettingsError(
                    f"the CA bundle {bundle} cannot be used: {problem}"
                ) from problem
    return context


class PhotoReader:
    """Reads photos; the same bytes are checked and kept once."""

    def __init__(self, folder: Path, workers: Executor, context: ssl.SSLContext) -> None:
        """Keep photos in `folder` and decode them on `workers`."""
        self._folder = folder
        self._workers = workers
        self._context = context
        self._checked: dict[tuple[str, bool], Photo] = {}

    def client(self) -> httpx.AsyncClient:
        """Make the client that downloads photos.

        It uses no proxy from the environment, since photos come from this machine.
        """
        return httpx.AsyncClient(
            verify=self._context,
            timeout=FETCH_SECONDS,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=8),
        )

    async def read(
        self, client: httpx.AsyncClient, field: str, reference: str, *, decode: bool
    ) -> Photo:
        """Read and check the photo of a field. Without `decode`, only its header is checked."""
        if is_url(reference):
            data = await _fetch(client, field, reference)
            url_path = unquote(urlsplit(reference).path)
        else:
            data = _from_base64(field, reference)
            url_path = None
        digest = hashlib.sha256(data).hexdigest()
        known = self._checked.get((digest, decode))
        if known is None:
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(
                self._workers, self._check_and_keep, field, data, digest, decode
            )
            self._checked[(digest, decode)] = known
            if len(self._checked) > _KEPT_RESULTS:
                self._checked.clear()
        return Photo(known.sha256, known.file, known.format, known.width, known.height, url_path)

    def _check_and_keep(self, field: str, data: bytes, digest: str, decode: bool) -> Photo:  # noqa: FBT001 - run_in_executor passes by position
        try:
            with warnings.catch_warnings():
                # Pillow warns about large pictures; here only MAX_PIXELS counts.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                picture = Image.open(io.BytesIO(data))
        except (OSError, ValueError, Image.DecompressionBombError) as problem:
            raise RefusedError(
                400, f"{field} cannot be read as an image: it must be JPEG or PNG"
            ) from problem
        kind, (width, height) = str(picture.format), picture.size
        if kind not in _FORMATS:
            raise RefusedError(400, f"{field} is a {kind} image: it must be JPEG or PNG")
        if width * height > MAX_PIXELS:
            raise RefusedError(
                400, f"{field} has {width} x {height} pixels: at most {MAX_PIXELS} are allowed"
            )
        if decode:
            try:
                picture.draft("RGB", (_DECODED_PIXELS, _DECODED_PIXELS))
                picture.load()
            except (OSError, ValueError, SyntaxError) as problem:
                raise RefusedError(
                    400, f"{field} is a damaged {kind} image: {problem}"
                ) from problem
        file = self._folder / digest
        # Two workers may write the same photo at the same time, so each writes its own file first.
        part = file.with_suffix(f".{os.urandom(4).hex()}")
        part.write_bytes(data)
        part.replace(file)
        return Photo(digest, file, kind, width, height)


async def _fetch(client: httpx.AsyncClient, field: str, url: str) -> bytes:
    shown = without_query(url)
    data = bytearray()
    try:
        async with asyncio.timeout(FETCH_SECONDS), client.stream("GET", url) as answer:
            if answer.status_code != _OK:
                raise RefusedError(
                    400,
                    f"{field} cannot be fetched: {shown} answers {answer.status_code}, not 200",
                )
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > MAX_PHOTO_BYTES:
                    raise _too_large(field)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, TimeoutError, ValueError) as problem:
        reason = str(problem) or type(problem).__name__
        raise RefusedError(400, f"{field} cannot be fetched: {shown}: {reason}") from problem
    return bytes(data)


def _from_base64(field: str, reference: str) -> bytes:
    text = reference
    if reference.startswith("data:"):
        header, comma, text = reference.partition(",")
        if not comma or not header.endswith(";base64"):
            raise RefusedError(400, f"{field} is a data URI that is not base64: {header[:80]}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise RefusedError(
            400, f"{field} is neither an http(s) URL nor base64 data: {reference[:40]}…"
        ) from problem
    if len(data) > MAX_PHOTO_BYTES:
        raise _too_large(field)
    return data


def _too_large(field: str) -> RefusedError:
    return RefusedError(400, f"{field} is larger than {MAX_PHOTO_BYTES} bytes")


def check_mask(mask: Photo, photo: Photo) -> None:
    """Refuse a mask that is no PNG or does not have the photo's pixel size (reference)."""
    if mask.format != "PNG":
        raise RefusedError(400, f"mask is a {mask.format} image: it must be PNG")
    if (mask.width, mask.height) != (photo.width, photo.height):
        raise RefusedError(
            400,
            f"mask is {mask.width} x {mask.height} pixels: it must have the image's size, "
            f"{photo.width} x {photo.height}",
        )
