"""Draws the images of a task from its photo; each result looks different.

A caption on each image says that it is simulated. It has a small bust in the model's skin tone, so
that images of different models differ.
"""

import colorsys
import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont, ImageOps

from local.simulator.contract import Look
from local.simulator.cutout import subject_mask
from local.simulator.scenes import scene, scene_name

LONGEST_SIDE: Final = 1024
SHORTEST_LONG_SIDE: Final = 512
"""Limits of an image's longest side, in pixels. Between them, it is as long as the photo's."""

_PLAIN_SIZE: Final = (192, 256)
_ORIENTATION: Final = 0x0112
"""The EXIF tag of a photo's orientation."""

_HEADROOM: Final = 0.97
"""The share of the height that a subject with cut-off sides may fill."""

_WHOLE: Final = 255

_MODELS: Final = {
    "001": ("Antonia", "#b98d62"),
    "002": ("Clara", "#f0cfb6"),
    "003": ("Jamila", "#5f3b28"),
    "004": ("Mia", "#d2a17c"),
    "044": ("Lavanya", "#a06c45"),
}
"""Names of the models in the quick start, and a colour for its "Olive", "Fair", "Deep", "Medium"
and "Tanned"."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished image file; width and height in pixels."""

    data: bytes
    width: int
    height: int
    media_type: str


@dataclass(frozen=True, slots=True)
class _Pose:
    """The differences of one result from the others.

    `zoom` enlarges, `shift` moves by a share of the width, `tint` is blended in with `strength`.
    Only the scene may be mirrored, since clothes may have words on them.
    """

    scene_mirrored: bool
    zoom: float
    shift: float
    tint: str
    strength: float


_POSES: Final = (
    _Pose(scene_mirrored=False, zoom=1.0, shift=0.0, tint="#ffffff", strength=0.0),
    _Pose(scene_mirrored=True, zoom=1.12, shift=0.04, tint="#ffb070", strength=0.08),
    _Pose(scene_mirrored=False, zoom=1.25, shift=-0.04, tint="#70a8ff", strength=0.08),
    _Pose(scene_mirrored=True, zoom=0.9, shift=-0.08, tint="#ff80b0", strength=0.07),
)


def draw(photo_file: Path, mask_file: Path | None, look: Look, count: int) -> list[Picture]:
    """Make `count` images of a photo. White in the mask is the subject.

    (Whether the vendor keeps white or black is not documented.)
    """
    photo, orientation = _open(photo_file)
    if look.scene_type == "original":
        drawn = [_reframed(photo, pose) for pose in _POSES[:count]]
    else:
        mask = _open_mask(mask_file, orientation, photo.size) if mask_file else subject_mask(photo)
        subject = _Subject(photo, mask)
        drawn = [_placed(subject, look, pose) for pose in _POSES[:count]]
    for index, picture in enumerate(drawn, start=1):
        _sign(picture, look, f"{index}/{count}")
    return [_encode(picture) for picture in drawn]


@lru_cache(maxsize=64)
def draw_plain(look: Look) -> Picture:
    """Make a small image that shows only its scene, fast."""
    if look.scene_type == "none":
        picture = Image.new("RGBA", _PLAIN_SIZE)
        ImageDraw.Draw(picture).ellipse((48, 64, 144, 192), fill="#888888ff")
    else:
        picture = _background(look, _PLAIN_SIZE) or Image.new("RGB", _PLAIN_SIZE, "#cccccc")
    return _encode(picture)


class _Subject:
    """The subject that is cut out of a photo.

    `cut` is RGBA, cropped to the subject; `size` is the photo's size. `grounded` says whether the
    photo's lower edge cuts the subject off, `wide` whether a side does. Such a subject must stay at
    that edge.
    """

    def __init__(self, photo: Image.Image, mask: Image.Image) -> None:
        self.size = photo.size
        whole = photo.convert("RGBA")
        whole.putalpha(mask)
        box = mask.point(lambda value: _WHOLE * (value > 127)).getbbox()  # noqa: PLR2004 - half
        left, top, right, bottom = box or (0, 0, *photo.size)
        self.grounded = bottom >= photo.height - 2
        self.wide = left <= 1 or right >= photo.width - 1
        self.cut = whole.crop((left, top, right, bottom))


def _open(file: Path) -> tuple[Image.Image, int]:
    """Open a photo upright, as RGB, in the size of the results; also return its orientation."""
    with Image.open(file) as stored:
        stored.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
        orientation = stored.getexif().get(_ORIENTATION, 1)
        upright = ImageOps.exif_transpose(stored)
    scale = max(1.0, min(LONGEST_SIDE, max(SHORTEST_LONG_SIDE, *upright.size)))
    scale /= max(upright.size)
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        # Transparent parts become white, as in most shops.
        layer = upright.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
        flat = Image.new("RGBA", size, "white")
        flat.alpha_composite(layer)
        return flat.convert("RGB"), orientation
    return upright.convert("RGB").resize(size, Image.Resampling.LANCZOS), orientation


def _open_mask(file: Path, orientation: int, size: tuple[int, int]) -> Image.Image:
    with Image.open(file) as stored:
        stored.load()
        stored.getexif()[_ORIENTATION] = orientation
        mask = ImageOps.exif_transpose(stored).convert("L")
    return mask.resize(size, Image.Resampling.BILINEAR)


def _reframed(photo: Image.Image, pose: _Pose) -> Image.Image:
    """Return the photo, enlarged by the pose's zoom."""
    zoom = max(1.0, pose.zoom)
    width, height = photo.width / zoom, photo.height / zoom
    left = max(0.0, min(photo.width - width, (photo.width - width) / 2 + pose.shift * width))
    top = (photo.height - height) / 3
    picture = photo.resize(
        photo.size, Image.Resampling.BICUBIC, (left, top, left + width, top + height)
    )
    return _tinted(picture, pose)


def _placed(subject: _Subject, look: Look, pose: _Pose) -> Image.Image:
    """Put the subject on its new background, or on a transparent one."""
    canvas = _background(look, subject.size)
    if canvas is not None and pose.scene_mirrored and look.scene_type == "preset":
        canvas = ImageOps.mirror(canvas)
    cut = _scaled(subject, pose)
    width, height = subject.size
    shift = 0.0 if subject.wide else pose.shift
    left = round((width - cut.width) / 2 + shift * width)
    top = height - cut.height if subject.grounded else round((height - cut.height) * 0.46)
    if canvas is None:
        picture = Image.new("RGBA", subject.size)
        picture.paste(cut, (left, top))
        return picture
    if look.scene_type == "preset":
        _cast_shadow(canvas, cut, left, top)
    canvas.paste(cut.convert("RGB"), (left, top), cut.getchannel("A"))
    return canvas


def _scaled(subject: _Subject, pose: _Pose) -> Image.Image:
    """Scale the subject so that it fills most of the image, for any size in the photo."""
    width, height = subject.size
    room = 0.9 if subject.grounded else 0.8
    fit = min(width * room / subject.cut.width, height * room / subject.cut.height)
    scale = fit * min(pose.zoom, 1.12)
    if subject.wide:
        # It fills the width. It may be enlarged only as far as its head stays in the picture.
        across = width / subject.cut.width
        scale = max(across, min(across * pose.zoom, height * _HEADROOM / subject.cut.height))
    size = (max(1, round(subject.cut.width * scale)), max(1, round(subject.cut.height * scale)))
    cut = subject.cut.resize(size, Image.Resampling.BICUBIC)
    tinted = _tinted(cut.convert("RGB"), pose)
    tinted.putalpha(cut.getchannel("A"))
    return tinted


def _background(look: Look, size: tuple[int, int]) -> Image.Image | None:
    if look.scene_type == "preset":
        return scene(look.scene_id or "", size).copy()
    if look.scene_type == "color":
        return Image.new("RGB", size, look.color or "")
    return None


def _cast_shadow(canvas: Image.Image, cut: Image.Image, left: int, top: int) -> None:
    """Darken the scene softly behind the subject; computed in a small size, since it is blurred."""
    shrink = 8
    shadow = Image.new("L", (canvas.width // shrink + 1, canvas.height // shrink + 1))
    size = (max(1, cut.width // shrink), max(1, cut.height // shrink))
    away = canvas.width // 60
    shadow.paste(cut.getchannel("A").resize(size).point(lambda value: round(value * 0.5)),
                 ((left + away) // shrink, (top + away) // shrink))  # fmt: skip
    shadow = shadow.filter(ImageFilter.GaussianBlur(max(canvas.size) / shrink / 40))
    canvas.paste((20, 16, 24), (0, 0), shadow.resize(canvas.size, Image.Resampling.BILINEAR))


def _tinted(picture: Image.Image, pose: _Pose) -> Image.Image:
    if not pose.strength:
        return picture
    return Image.blend(picture, Image.new("RGB", picture.size, pose.tint), pose.strength)


def _sign(picture: Image.Image, look: Look, number: str) -> None:
    """Put the caption and the model's bust at the lower left of an image."""
    text = f"simulated · {_model_label(look.model_id)} · {_scene_label(look)} · {number}"
    badge = _badge(text, _tone(look.model_id), picture.width)
    margin = max(2, picture.width // 50)
    corner = (margin, max(0, picture.height - badge.height - margin))
    if picture.mode == "RGBA":
        picture.alpha_composite(badge, corner)
    else:
        picture.paste(badge, corner, badge)


def _badge(text: str, tone: str, room: int) -> Image.Image:
    """Draw a dark pill with a bust in a tone and a text, no wider than there is room."""
    font_size = max(9, min(18, room // 36))
    font = ImageFont.load_default(font_size)
    height = round(font_size * 2.2)
    left = height + font_size // 3
    width = left + round(font.getlength(text)) + font_size
    pill = Image.new("RGBA", (width, height))
    smooth = 3
    shape = Image.new("L", (width * smooth, height * smooth))
    ImageDraw.Draw(shape).rounded_rectangle(
        (0, 0, width * smooth - 1, height * smooth - 1), height * smooth // 2, fill=168
    )
    pill.paste((18, 16, 22), (0, 0, width, height))
    pill.putalpha(shape.resize((width, height), Image.Resampling.BOX))
    bust = _bust(tone, height)
    pill.alpha_composite(bust, (0, 0))
    ImageDraw.Draw(pill).text((left, height / 2), text, "#ffffff", font, anchor="lm")
    widest = room - 2 * (room // 50)
    if width > widest:
        pill = pill.resize((widest, max(1, round(height * widest / width))))
    return pill


@lru_cache(maxsize=64)
def _bust(tone: str, side: int) -> Image.Image:
    """Draw a head and shoulders in a skin tone, on a light disc."""
    unit = 24
    drawing = Image.new("RGBA", (10 * unit, 10 * unit))
    pen = ImageDraw.Draw(drawing)
    red, green, blue = ImageColor.getrgb(tone)[:3]
    shade = (red * 4 // 5, green * 4 // 5, blue * 4 // 5)
    pen.ellipse((0, 0, 10 * unit - 1, 10 * unit - 1), fill="#f6f1ea")
    pen.ellipse((3 * unit, 1.3 * unit, 7 * unit, 5.6 * unit), fill="#2f2623")
    pen.ellipse((1.6 * unit, 6.7 * unit, 8.4 * unit, 13 * unit), fill="#6d6a75")
    pen.rounded_rectangle((4.3 * unit, 5 * unit, 5.7 * unit, 7.7 * unit), 0.6 * unit, fill=shade)
    pen.ellipse((3.5 * unit, 2.1 * unit, 6.5 * unit, 6.1 * unit), fill=tone)
    pen.chord((3.3 * unit, 1.5 * unit, 6.7 * unit, 5 * unit), 185, 355, fill="#2f2623")
    disc = Image.new("L", drawing.size)
    ImageDraw.Draw(disc).ellipse((0, 0, 10 * unit - 1, 10 * unit - 1), fill=_WHOLE)
    drawing.putalpha(disc)
    return drawing.resize((side, side), Image.Resampling.BOX)


def _tone(model_id: str) -> str:
    if model_id in _MODELS:
        return _MODELS[model_id][1]
    # An unknown model gets a colour, always the same one.
    hue = hashlib.sha256(model_id.encode()).digest()[0] / 256
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62, 0.5)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _model_label(model_id: str) -> str:
    return f"{model_id} {_MODELS[model_id][0]}" if model_id in _MODELS else model_id


def _scene_label(look: Look) -> str:
    match look.scene_type:
        case "preset":
            scene_id = look.scene_id or ""
            return f"{scene_id} {scene_name(scene_id)}"
        case "color":
            return look.color or ""
        case "none":
            return "cut-out"
        case _:
            return "original"


def _encode(picture: Image.Image) -> Picture:
    buffer = io.BytesIO()
    if picture.mode == "RGBA":
        # Level 1 takes a third of the time and a tenth more bytes.
        picture.save(buffer, "PNG", compress_level=1)
        return Picture(buffer.getvalue(), *picture.size, "image/png")
    # Without chroma subsampling a flat colour is reproduced exactly.
    picture.save(buffer, "JPEG", quality=90, subsampling=0)
    return Picture(buffer.getvalue(), *picture.size, "image/jpeg")
