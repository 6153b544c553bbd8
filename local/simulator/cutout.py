"""Finds the subject of a photo without a mask.

A small copy of the photo is reduced to a few dozen colours. A colour that occurs in the middle
probably belongs to the subject; one that occurs at the border does not. A few rounds reassign each
pixel by its colour and its neighbours. This works for a garment on a floor, a table or a wall, and
for a person before a backdrop. It recognises no objects.
"""

import math
import operator
from collections import deque
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

_SIDE: Final = 160
"""The longest side of the small copy, in pixels."""

_COLORS: Final = 40
_ROUNDS: Final = 4
_SOFT_PIXELS: Final = 1.4
_SMALLEST_PART: Final = 0.08
"""Parts smaller than this share of the largest one are removed."""

_GAP: Final = 0.02
"""Background that touches only the lower edge is a hole if its share of the picture is smaller."""

_WHOLE: Final = 255
_HALF: Final = 128
_ALIKE: Final = 9.0
_SAME_GROUND: Final = 45.0
"""Distances of colours after `_even`: of similar colours, and of the same background."""

_NEUTRAL: Final = 84


def subject_mask(photo: Image.Image) -> Image.Image:
    """Return the subject of an RGB photo as a mask: mode L, the photo's size, 255 is subject."""
    scale = _SIDE / max(photo.size)
    size = (max(8, round(photo.width * scale)), max(8, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.6))
    even = _even(small)
    palette = even.quantize(
        _COLORS, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE
    )
    colors = Image.frombytes("L", size, palette.tobytes())
    prior = ImageChops.subtract(_prior(size), _border(even))
    subject = prior.point(lambda value: _WHOLE * (value > 150))  # noqa: PLR2004 - the sure middle
    ground = _border(even)
    alike = _likeness(palette.getpalette() or [])
    # Outside the middle only the colours count, not the position.
    pull = prior.point(lambda value: max(value, _NEUTRAL))
    for _ in range(_ROUNDS):
        likely = _likely(colors, subject, ground, alike).filter(
            ImageFilter.GaussianBlur(_SOFT_PIXELS)
        )
        likely = Image.blend(likely, pull, 0.22)
        subject = likely.point(lambda value: _WHOLE * (value >= _HALF))
        ground = ImageChops.invert(subject)
    solid = _without_crumbs_and_holes(subject.filter(ImageFilter.MedianFilter(5)))
    edge = max(1.0, max(photo.size) / _SIDE * 0.55)
    full = solid.resize(photo.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(edge))
    # Make the blurred edge steeper and move it inwards: a halo of the background looks worse than
    # a slightly tight cut.
    return full.point(lambda value: max(0, min(_WHOLE, (value - 128) * 3)))


def _prior(size: tuple[int, int]) -> Image.Image:
    """Return where the subject is expected: in the middle, down to the lower edge."""
    width, height = size
    prior = Image.new("L", size, 0)
    draw = ImageDraw.Draw(prior)
    draw.ellipse(
        (width * 0.2, height * 0.08, width * 0.8, height * 1.02),
        fill=_WHOLE,
    )
    return prior.filter(ImageFilter.GaussianBlur(max(size) * 0.09))


def _border(picture: Image.Image) -> Image.Image:
    """Mark the certain background: the upper edges, and lower edges with the same colour.

    A garment on a floor has floor on all sides, but the body of a portrait touches the lower edge.
    """
    width, height = picture.size
    edge = max(2, round(min(picture.size) * 0.05))
    middle = round(height * 0.6)
    left, right = (0, 0, edge, middle), (width - edge, 0, width, middle)
    border = Image.new("L", picture.size)
    for box in ((0, 0, width, max(1, edge // 2)), left, right):
        border.paste(_WHOLE, box)
    for box, upper in (
        ((0, middle, edge, height), left),
        ((0, height - edge, width // 2, height), left),
        ((width - edge, middle, width, height), right),
        ((width // 2, height - edge, width, height), right),
    ):
        if math.dist(_mean(picture, box), _mean(picture, upper)) < _SAME_GROUND:
            border.paste(_WHOLE, box)
    return border


def _mean(picture: Image.Image, box: tuple[int, int, int, int]) -> tuple[float, ...]:
    return tuple(ImageStat.Stat(picture.crop(box)).mean)


def _even(picture: Image.Image) -> Image.Image:
    """Reduce the weight of brightness against hue, since light is uneven and casts shadows."""
    bright, blue, red = picture.convert("YCbCr").split()
    stretched = [
        band.point(lambda value: max(0, min(_WHOLE, 128 + (value - 128) * 2)))
        for band in (blue, red)
    ]
    return Image.merge("RGB", (bright.point(lambda value: round(value * 0.6)), *stretched))


def _likeness(palette: list[int]) -> list[list[float]]:
    """Return how similar any two colours are, from 0 to 1."""
    colors = list(zip(palette[0::3], palette[1::3], palette[2::3], strict=True))
    return [
        [math.exp(-(math.dist(one, other) ** 2) / (2 * _ALIKE**2)) for other in colors]
        for one in colors
    ]


def _likely(
    colors: Image.Image, subject: Image.Image, ground: Image.Image, alike: list[list[float]]
) -> Image.Image:
    """Return for each pixel the probability (0 to 255) that its colour belongs to the subject.

    The positions of a colour count for similar colours too. So a floor stays one background
    although its light is uneven.
    """
    count = len(alike)
    inside, outside = colors.histogram(subject)[:count], colors.histogram(ground)[:count]
    all_inside, all_outside = max(1, sum(inside)), max(1, sum(outside))
    table = [0] * 256
    for color, weights in enumerate(alike):
        share = (1 + sum(map(operator.mul, weights, inside))) / all_inside
        other = (1 + sum(map(operator.mul, weights, outside))) / all_outside
        table[color] = round(_WHOLE * share / (share + other))
    return colors.point(table)


def _without_crumbs_and_holes(mask: Image.Image) -> Image.Image:
    """Keep the large parts of a mask, and fill their holes."""
    width, height = mask.size
    cells = bytearray(mask.tobytes())
    parts = _parts(cells, width, height, wanted=_WHOLE)
    largest = max((len(part) for part in parts), default=0)
    for part in parts:
        if len(part) < largest * _SMALLEST_PART:
            for cell in part:
                cells[cell] = 0
    for part in _parts(cells, width, height, wanted=0):
        # A small gap at the lower edge is a hole too: between an arm and a body, say.
        small = len(part) < len(cells) * _GAP
        if not any(_at_edge(cell, width, height, lower=not small) for cell in part):
            for cell in part:
                cells[cell] = _WHOLE
    return Image.frombytes("L", mask.size, bytes(cells))


def _at_edge(cell: int, width: int, height: int, *, lower: bool) -> bool:
    """Return whether a position is at an edge of the picture; the lower edge counts if `lower`."""
    row, column = divmod(cell, width)
    return row == 0 or column in (0, width - 1) or (lower and row == height - 1)


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
