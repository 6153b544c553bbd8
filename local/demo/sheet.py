"""Draws the contact sheet: each photo beside its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

_PAPER: Final = "#f4f1ec"
_CARD: Final = "#ffffff"
_INK: Final = "#23201c"
_FAINT: Final = "#8a8378"
_ACCENT: Final = "#c2543d"
_CHECKS: Final = ("#ffffff", "#e4e1db")
"""The colours of the checks behind a result without a background."""

_CELL: Final = (222, 296)
"""Width and height of an image's cell; samples and results are 3:4."""
_GAP: Final = 14
_ARROW: Final = 58
_PADDING: Final = 26
_MARGIN: Final = 64
_GUTTER: Final = 36
_CAPTION: Final = 74
_HEADER: Final = 170
_AFTER: Final = 4
"""A card has room for this many results; no task makes more."""
_COLUMNS: Final = 2
_RADIUS: Final = 10
_CHECK: Final = 12
_QUALITY: Final = 90

_CARD_WIDTH: Final = 2 * _PADDING + _CELL[0] + _ARROW + _AFTER * _CELL[0] + (_AFTER - 1) * _GAP
_CARD_HEIGHT: Final = 2 * _PADDING + _CELL[1] + _CAPTION


@dataclass(frozen=True)
class Card:
    """A photo and its results; `note` is shown if there are none."""

    title: str
    subtitle: str
    before: bytes | None = field(repr=False)
    after: Sequence[Path] = ()
    note: str = ""


def draw(cards: Sequence[Card], *, title: str, subtitle: str, file: Path) -> None:
    """Draw all cards on one sheet, and save it as a JPEG."""
    rows = -(-len(cards) // _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * _CARD_WIDTH + (_COLUMNS - 1) * _GUTTER
    height = _HEADER + rows * (_CARD_HEIGHT + _GUTTER) - _GUTTER + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 84), title, _INK, _font(64), anchor="lm")
    pen.rectangle((_MARGIN, 126, _MARGIN + 96, 131), _ACCENT)
    pen.text((width - _MARGIN, 92), subtitle, _FAINT, _font(27), anchor="rm")
    for number, card in enumerate(cards):
        row, column = divmod(number, _COLUMNS)
        left = _MARGIN + column * (_CARD_WIDTH + _GUTTER)
        top = _HEADER + row * (_CARD_HEIGHT + _GUTTER)
        _card(sheet, left, top, card)
    new = file.with_suffix(".new")
    sheet.save(new, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    new.replace(file)


def _card(sheet: Image.Image, left: int, top: int, card: Card) -> None:
    box = (left, top, left + _CARD_WIDTH, top + _CARD_HEIGHT)
    _shadow(sheet, box)
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle(box, 2 * _RADIUS, _CARD)
    x, y = left + _PADDING, top + _PADDING
    if card.before is None:
        pen.rounded_rectangle((x, y, x + _CELL[0], y + _CELL[1]), _RADIUS, _PAPER)
        pen.text(
            (x + _CELL[0] / 2, y + _CELL[1] / 2),
            Path(card.title).suffix.lstrip(".").upper(),
            _FAINT,
            _font(44),
            anchor="mm",
        )
    else:
        _picture(sheet, x, y, Image.open(BytesIO(card.before)))
    _arrow(pen, x + _CELL[0] + _ARROW // 2, y + _CELL[1] // 2)
    x += _CELL[0] + _ARROW
    if card.note:
        room = _AFTER * _CELL[0] + (_AFTER - 1) * _GAP
        pen.multiline_text(
            (x, y + _CELL[1] / 2),
            _wrapped(card.note, _font(26), room),
            _FAINT,
            _font(26),
            anchor="lm",
            spacing=12,
        )
    for file in card.after:
        with Image.open(file) as picture:
            _picture(sheet, x, y, picture)
        x += _CELL[0] + _GAP
    base = top + _PADDING + _CELL[1]
    pen.text((left + _PADDING, base + 30), card.title, _INK, _font(30), anchor="lm")
    pen.text((left + _PADDING, base + 68), card.subtitle, _FAINT, _font(24), anchor="lm")


def _picture(sheet: Image.Image, x: int, y: int, picture: Image.Image) -> None:
    """Paste a whole image into a cell with round corners."""
    shown = ImageOps.contain(ImageOps.exif_transpose(picture).convert("RGBA"), _CELL)
    tile = Image.new("RGBA", _CELL, _PAPER)
    if shown.getchannel("A").getextrema() != (255, 255):
        tile = _checkered()
    spot = ((_CELL[0] - shown.width) // 2, (_CELL[1] - shown.height) // 2)
    tile.alpha_composite(shown, spot)
    scale = 4
    corners = Image.new("L", (_CELL[0] * scale, _CELL[1] * scale), 0)
    ImageDraw.Draw(corners).rounded_rectangle(
        (0, 0, corners.width - 1, corners.height - 1), _RADIUS * scale, 255
    )
    sheet.paste(tile.convert("RGB"), (x, y), corners.resize(_CELL, Image.Resampling.LANCZOS))


def _checkered() -> Image.Image:
    tile = Image.new("RGBA", _CELL, _CHECKS[0])
    pen = ImageDraw.Draw(tile)
    for top in range(0, _CELL[1], _CHECK):
        for left in range(0, _CELL[0], _CHECK):
            if (top + left) // _CHECK % 2:
                pen.rectangle((left, top, left + _CHECK - 1, top + _CHECK - 1), _CHECKS[1])
    return tile


def _arrow(pen: ImageDraw.ImageDraw, x: int, y: int) -> None:
    pen.line((x - 14, y, x + 10, y), _ACCENT, 5)
    pen.line((x + 1, y - 11, x + 12, y, x + 1, y + 11), _ACCENT, 5, joint="curve")


def _shadow(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
    blur = 14
    left, top, right, bottom = box
    size = (right - left + 4 * blur, bottom - top + 4 * blur)
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle(
        (2 * blur, 2 * blur, size[0] - 2 * blur, size[1] - 2 * blur), 2 * _RADIUS, 34
    )
    mask = mask.filter(ImageFilter.GaussianBlur(blur))
    sheet.paste("#3a2f22", (left - 2 * blur, top - 2 * blur + 6), mask)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
