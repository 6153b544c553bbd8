"""Finds the subject of a photo when no mask says where it is.

A small copy of the photo is reduced to a few dozen colours. Where each colour occurs, at the
border or in the middle, tells how likely it belongs to the subject; a few rounds of reassigning
the pixels to where their colours and their neighbours are settle it. This suits a garment on a
floor, a table or a wall, and a person before a backdrop. It knows nothing of what things are.
"""

from collections import deque
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_SIDE: Final = 160
"""The longest side, in pixels, at which the subject is looked for."""

_COLORS: Final = 40
_ROUNDS: Final = 4
_SOFT_PIXELS: Final = 1.4
_SMALLEST_PART: Final = 0.08
"""Parts below this share of the largest one are crumbs of the background."""

_WHOLE: Final = 255
_HALF: Final = 128
_NEUTRAL: Final = 84


def subject_mask(photo: Image.Image) -> Image.Image:
    """Return where the subject of an RGB photo is: mode L, the photo's size, 255 is subject."""
    scale = _SIDE / max(photo.size)
    size = (max(8, round(photo.width * scale)), max(8, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.6))
    palette = _even(small).quantize(_COLORS, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=0)
    colors = Image.frombytes("L", size, palette.tobytes())
    prior = _prior(size)
    subject = prior.point(lambda value: _WHOLE * (value > 150))  # noqa: PLR2004 - the sure middle
    ground = _border(size)
    # Away from the middle the colours decide, not the place.
    pull = prior.point(lambda value: max(value, _NEUTRAL))
    for _ in range(_ROUNDS):
        likely = _likely(colors, subject, ground).filter(ImageFilter.GaussianBlur(_SOFT_PIXELS))
        likely = Image.blend(likely, pull, 0.22)
        subject = likely.point(lambda value: _WHOLE * (value >= _HALF))
        ground = ImageChops.invert(subject)
    solid = _without_crumbs_and_holes(subject.filter(ImageFilter.MedianFilter(5)))
    edge = max(1.0, max(photo.size) / _SIDE * 0.55)
    full = solid.resize(photo.size, Image.Resampling.BICUBIC).filter(
        ImageFilter.GaussianBlur(edge)
    )
    # The blurred edge is steepened, and moved inwards: a halo of the background looks worse
    # than a slightly tight cut.
    return full.point(lambda value: max(0, min(_WHOLE, (value - 115) * 3)))


def _prior(size: tuple[int, int]) -> Image.Image:
    """Expect the subject in the middle, and reaching the lower edge rather than the others."""
    width, height = size
    prior = Image.new("L", size, 0)
    draw = ImageDraw.Draw(prior)
    draw.ellipse(
        (width * 0.2, height * 0.08, width * 0.8, height * 1.02),
        fill=_WHOLE,
    )
    prior = prior.filter(ImageFilter.GaussianBlur(max(size) * 0.09))
    return ImageChops.subtract(prior, _border(size))


def _border(size: tuple[int, int]) -> Image.Image:
    """Mark what is surely background: the edges but for the lower ones, where people stand."""
    width, height = size
    border = Image.new("L", size)
    draw = ImageDraw.Draw(border)
    edge = max(2, round(min(size) * 0.05))
    draw.rectangle((0, 0, width, edge // 2), fill=_WHOLE)
    draw.rectangle((0, 0, edge, height * 0.6), fill=_WHOLE)
    draw.rectangle((width - edge, 0, width, height * 0.6), fill=_WHOLE)
    return border


def _even(picture: Image.Image) -> Image.Image:
    """Make brightness count less than hue: light falls unevenly, and casts shadows."""
    bright, blue, red = picture.convert("YCbCr").split()
    stretched = [
        band.point(lambda value: max(0, min(_WHOLE, 128 + (value - 128) * 2)))  # noqa: PLR2004 - the middle
        for band in (blue, red)
    ]
    return Image.merge("RGB", (bright.point(lambda value: round(value * 0.6)), *stretched))


def _likely(colors: Image.Image, subject: Image.Image, ground: Image.Image) -> Image.Image:
    """Give each pixel the chance (0..255) that its colour belongs to the subject."""
    inside = colors.histogram(subject)
    outside = colors.histogram(ground)
    all_inside, all_outside = max(1, sum(inside)), max(1, sum(outside))
    table = []
    for seen_inside, seen_outside in zip(inside, outside, strict=True):
        share = (seen_inside + 1) / all_inside
        table.append(round(_WHOLE * share / (share + (seen_outside + 1) / all_outside)))
    return colors.point(table)


def _without_crumbs_and_holes(mask: Image.Image) -> Image.Image:
    """Keep the large parts of a mask, and fill what they enclose."""
    width, height = mask.size
    cells = bytearray(mask.tobytes())
    parts = _parts(cells, width, height, wanted=_WHOLE)
    largest = max((len(part) for part in parts), default=0)
    for part in parts:
        if len(part) < largest * _SMALLEST_PART:
            for cell in part:
                cells[cell] = 0
    for part in _parts(cells, width, height, wanted=0):
        if not any(_at_edge(cell, width, height) for cell in part):
            for cell in part:
                cells[cell] = _WHOLE
    return Image.frombytes("L", mask.size, bytes(cells))


def _at_edge(cell: int, width: int, height: int) -> bool:
    row, column = divmod(cell, width)
    return row in (0, height - 1) or column in (0, width - 1)


def _parts(cells: bytearray, width: int, height: int, *, wanted: int) -> list[list[int]]:
    """Find the connected parts of one value, as lists of positions."""
    unseen = bytearray(cell == wanted for cell in cells)
    parts = []
    start = unseen.find(1)
    while start >= 0:
        unseen[start] = 0
        part, queue = [], deque([start])
        while queue:
            cell = queue.popleft()
            part.append(cell)
            column = cell % width
            neighbours = (
                cell - width if cell >= width else -1,
                cell + width if cell < width * (height - 1) else -1,
                cell - 1 if column else -1,
                cell + 1 if column < width - 1 else -1,
            )
            for neighbour in neighbours:
                if neighbour >= 0 and unseen[neighbour]:
                    unseen[neighbour] = 0
                    queue.append(neighbour)
        parts.append(part)
        start = unseen.find(1, start)
    return parts
