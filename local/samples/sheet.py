"""The sheet that a sample is drawn on, and the lines of what is drawn.

Positions are in units of the picture: x from the middle, -0.5 to 0.5 of the width; y from the top,
0 to 1 of the height.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Spot = tuple[float, float]
Fold = tuple[Sequence[Spot], float]
"""A line, and how deep it is, from 0 to 1."""

Fabric = Callable[["Sheet"], Image.Image]
"""Fills a whole sheet with cloth, or with what lies below it."""

SIZE: Final = (900, 1200)
_FINER: Final = 2
"""Everything is drawn this much larger, and made smaller at the end: edges come out smooth."""


class Sheet:
    """A picture in the making: a background, and pieces of cloth laid on it one by one.

    `garment` is where cloth lies (mode L): the mask.
    """

    def __init__(self, background: Fabric, seed: int, shape: Spot = (1.0, 1.0)) -> None:
        """Lay the background; `shape` stretches what is laid on it, from its middle."""
        self._shape = shape
        self._side = 1
        self.size = (SIZE[0] * _FINER, SIZE[1] * _FINER)
        # Chance for pictures, not for secrets.
        self.chance = random.Random(seed)  # noqa: S311
        self.picture = background(self)
        self.garment = Image.new("L", self.size)

    def piece(
        self,
        spots: Sequence[Spot],
        fabric: Fabric,
        *,
        folds: Sequence[Fold] = (),
        lift: float = 1.0,
    ) -> None:
        """Lay a piece of cloth, with soft folds (a line and its depth) and a shadow below it."""
        shape = self.polygon(spots)
        self.shadow(shape, 0.010 * lift, 0.42)
        self.shadow(shape, 0.003, 0.30)
        cloth = self._shaded(fabric(self), shape, folds, min(1.0, lift))
        self.picture.paste(cloth, (0, 0), shape)
        self.garment = ImageChops.lighter(self.garment, shape)

    def sides(self) -> Iterator[None]:
        """Draw what follows twice: as it is, and on the other side of the middle."""
        for self._side in (1, -1):
            yield
        self._side = 1

    def polygon(self, spots: Sequence[Spot]) -> Image.Image:
        """Fill an outline: mode L."""
        layer = Image.new("L", self.size)
        ImageDraw.Draw(layer).polygon([self.at(spot) for spot in spots], fill=255)
        return layer

    def disc(self, spot: Spot, across: float) -> Image.Image:
        """Fill a circle: mode L; `across` in heights."""
        x, y = self.at(spot)
        radius = across * self.size[1] / 2
        layer = Image.new("L", self.size)
        ImageDraw.Draw(layer).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return layer

    def line(self, spots: Sequence[Spot], color: str, width: float, *, dash: float = 0.0) -> None:
        """Draw a line, or a seam of stitches with `dash`; widths and lengths in heights."""
        pen = ImageDraw.Draw(self.picture)
        pixels = [self.at(spot) for spot in spots]
        thick = max(1, round(width * self.size[1]))
        if not dash:
            pen.line(pixels, fill=color, width=thick, joint="curve")
            return
        step = dash * self.size[1]
        for start, end in _stitches(pixels, step):
            pen.line((start, end), fill=color, width=thick)

    def seam(self, spots: Sequence[Spot], color: str) -> None:
        """Sew stitches along a line."""
        self.line(spots, color, 0.0014, dash=0.006)

    def dot(self, spot: Spot, across: float, color: str, *, rim: str | None = None) -> None:
        """Draw a disc, such as a button, with a shadow; `across` in heights."""
        self.shadow(self.disc(spot, across), 0.002, 0.5)
        x, y = self.at(spot)
        radius = across * self.size[1] / 2
        pen = ImageDraw.Draw(self.picture)
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=color,
            outline=rim,
            width=max(1, round(radius / 5)),
        )

    def tone(self, shape: Image.Image, color: str, alpha: float) -> None:
        """Lay a colour over a shape."""
        self.picture.paste(
            ImageColor.getrgb(color), (0, 0), shape.point(lambda value: round(value * alpha))
        )

    def shadow(self, shape: Image.Image, away: float, alpha: float) -> None:
        """Darken what is below a shape and beside it; light comes from the upper left."""
        away_pixels = round(away * self.size[1])
        dark = ImageChops.offset(shape, away_pixels, away_pixels)
        dark = _blurred(dark, away_pixels * 1.6).point(lambda value: round(value * alpha))
        self.picture.paste((26, 20, 24), (0, 0), dark)

    def at(self, spot: Spot) -> Spot:
        """Turn a position into pixels."""
        x, y = self._side * spot[0] * self._shape[0] + 0.5, (spot[1] - 0.5) * self._shape[1] + 0.5
        return x * self.size[0], y * self.size[1]

    def _shaded(
        self,
        cloth: Image.Image,
        shape: Image.Image,
        folds: Sequence[Fold],
        body: float,
    ) -> Image.Image:
        """Give cloth a body: dark at its edges, light from the upper left, and folds."""
        light = Image.new("L", self.size, 128)
        inside = _blurred(shape, self.size[1] * 0.017 * body)
        rim = inside.point(lambda value: round(26 * (255 - value) / 127) if value > 0 else 0)
        light = ImageChops.subtract(light, rim)
        moved = ImageChops.offset(inside, round(self.size[1] * 0.012), round(self.size[1] * 0.012))
        light = ImageChops.add(light, ImageChops.subtract(inside, moved).point(lambda v: v // 3))
        light = ImageChops.subtract(
            light, ImageChops.subtract(moved, inside).point(lambda value: value // 4)
        )
        for spots, depth in folds:
            light = self._folded(light, spots, depth)
        dark = light.point(lambda value: max(0, 128 - value) * 2)
        bright = light.point(lambda value: max(0, value - 128) * 2)
        shaded = Image.composite(Image.new("RGB", self.size, "#0a0810"), cloth, dark)
        return Image.composite(Image.new("RGB", self.size, "#ffffff"), shaded, bright)

    def _folded(self, light: Image.Image, spots: Sequence[Spot], depth: float) -> Image.Image:
        """Add a fold to the light: a dark valley with a bright ridge to its left."""
        smooth = [self.at(spot) for spot in curve(spots)]
        width = round(self.size[1] * 0.010)
        for shift, amount, add in ((0.0, depth, False), (-0.014, depth * 0.6, True)):
            layer = Image.new("L", self.size)
            pixels = [(x + shift * self.size[0], y) for x, y in smooth]
            pen = ImageDraw.Draw(layer)
            for index in range(len(pixels) - 1):
                # A fold is widest in its middle, and runs out at its ends.
                share = 1 - abs(2 * index / max(1, len(pixels) - 2) - 1)
                pen.line(
                    (pixels[index], pixels[index + 1]),
                    fill=round(255 * (0.25 + 0.75 * share)),
                    width=max(2, round(width * (0.5 + share))),
                )
            layer = _blurred(layer, self.size[1] * 0.007).point(
                lambda value, amount=amount: round(value * amount)
            )
            light = ImageChops.add(light, layer) if add else ImageChops.subtract(light, layer)
        return light


def _blurred(layer: Image.Image, radius: float) -> Image.Image:
    """Blur by a large radius at a quarter of the size: nobody sees the difference."""
    small = layer.resize((layer.width // 4, layer.height // 4), Image.Resampling.BOX)
    return small.filter(ImageFilter.GaussianBlur(radius / 4)).resize(
        layer.size, Image.Resampling.BILINEAR
    )


def _stitches(pixels: Sequence[Spot], step: float) -> list[tuple[Spot, Spot]]:
    stitches = []
    for (x0, y0), (x1, y1) in pairwise(pixels):
        length = max(1e-6, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
        for number in range(max(1, round(length / step))):
            first, last = number * step / length, min(1.0, (number + 0.6) * step / length)
            if first < 1:
                stitches.append(
                    (
                        (x0 + (x1 - x0) * first, y0 + (y1 - y0) * first),
                        (x0 + (x1 - x0) * last, y0 + (y1 - y0) * last),
                    )
                )
    return stitches


def curve(spots: Sequence[Spot], steps: int = 14) -> list[Spot]:
    """Run a smooth line through spots (Catmull-Rom)."""
    padded = [spots[0], *spots, spots[-1]]
    line = []
    for index in range(1, len(padded) - 2):
        a, b, c, d = padded[index - 1 : index + 3]
        for step in range(steps):
            t = step / steps
            line.append((_between(a[0], b[0], c[0], d[0], t), _between(a[1], b[1], c[1], d[1], t)))
    return [*line, spots[-1]]


def _between(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )


def outline(text: str) -> list[Spot]:
    """Read spots from a text, "x,y x,y; ~ x,y x,y": parts, where ~ makes a part a smooth line."""
    spots = []
    for part in text.split(";"):
        words = (word.split(",") for word in part.replace("~", "").split())
        corners = [(float(x), float(y)) for x, y in words]
        spots += curve(corners) if "~" in part else corners
    return spots


def folds_from(text: str) -> list[Fold]:
    """Read folds from a text, "depth: x,y x,y; depth: x,y x,y"."""
    parts = (part.split(":") for part in text.split(";"))
    return [(outline(spots), float(depth)) for depth, spots in parts]


def mirrored(half: Sequence[Spot]) -> list[Spot]:
    """Complete a right half, from the top middle to the bottom middle, with its left one."""
    return [*half, *((-x, y) for x, y in reversed(half))]
