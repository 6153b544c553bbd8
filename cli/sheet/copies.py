"""Small JPEG copies of photos and results, as data URIs."""

import base64
import io
from contextlib import closing
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image, ImageOps
from urllib3.exceptions import HTTPError

from cli.gallery.images import Picture

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZE: Final = (360, 480)
"""Pixels at most: twice what a photo in portrait takes up on the sheet."""
_QUALITY: Final = 78
_MAX_BYTES: Final = 64 * 2**20
"""Larger objects are not read; they are not shown in the gallery either."""
_MAX_PIXELS: Final = 64_000_000
"""Of a PNG, which is decoded whole, at four bytes a pixel."""
_MAX_JPEG_PIXELS: Final = 178_000_000
"""Of a JPEG, which is decoded at a fraction of its size; Pillow refuses more."""


class NoCopyError(Exception):
    """There is no small copy; the message is a short sentence."""


def small_copy(s3: "S3Client", picture: Picture) -> str:
    """Return a small copy of an object as a data URI.

    Raises:
        NoCopyError: it is gone, may not be read, or is not an image that can be decoded.

    """
    try:
        answer = s3.get_object(**picture.arguments())
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] > _MAX_BYTES:
                raise NoCopyError("Too large to be shown.")
            data = body.read()
    except ClientError as error:
        denied = error.response["Error"].get("Code") in {"403", "AccessDenied"}
        raise NoCopyError(
            "May not be read." if denied else "Not in the bucket any more."
        ) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise NoCopyError("Could not be read.") from error
    return f"data:image/jpeg;base64,{base64.b64encode(shrunk(data)).decode()}"


def shrunk(data: bytes) -> bytes:
    """Return an image as a small JPEG, upright; what is transparent becomes white.

    Raises:
        NoCopyError: it is not an image that can be decoded.

    """
    try:
        opened = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        most = _MAX_JPEG_PIXELS if opened.format == "JPEG" else _MAX_PIXELS
        fits = opened.width * opened.height <= most
        copy = _copied(opened) if fits else b""
    # Pillow reads bytes that strangers chose; whatever it stumbles over is no picture.
    except Exception as error:
        raise NoCopyError("Not an image that can be shown.") from error
    if not fits:
        raise NoCopyError("Too large to be shown.")
    return copy


def _copied(opened: Image.Image) -> bytes:
    opened.draft("RGB", (2 * SIZE[0], 2 * SIZE[1]))
    # Which side is up is known only later, so it shrinks twice.
    opened.thumbnail((max(SIZE), max(SIZE)), Image.Resampling.LANCZOS)
    copy = ImageOps.exif_transpose(opened).convert("RGBA")
    copy.thumbnail(SIZE, Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", copy.size, "white")
    output = io.BytesIO()
    flat = Image.alpha_composite(paper, copy).convert("RGB")
    flat.save(output, "JPEG", quality=_QUALITY, optimize=True)
    return output.getvalue()
