"""Draws the sample photos: flat-lay apparel, the same pixels at every run.

`python -m local.samples.draw` writes them beside this file; with `--portrait FILE` it also crops
the portrait from the original picture (see README.md). Positions are in units of the picture:
x from the middle, -0.5 to 0.5 of the width; y from the top, 0 to 1 of the height.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter, ImageFont

Spot = tuple[float, float]
Fabric = Callable[["Sheet"], Image.Image]

FOLDER: Final = Path(__file__).parent
SIZE: Final = (900, 1200)
_FINER: Final = 2
"""Everything is drawn this much larger, and made smaller at the end: edges come out smooth."""

_PORTRAIT_BOX: Final = (34, 0, 364, 440)
"""What is kept of the portrait, in its pixels."""

_KEPT_OF_BROKEN: Final = 6000
"""The bytes after which broken.jpg ends."""


class Sheet:
    """A picture in the making: a background, and pieces of cloth laid on it one by one.

    `garment` is where cloth lies (mode L): the mask.
    """

    def __init__(self, background: Fabric, seed: int, shape: Spot = (1.0, 1.0)) -> None:
        """Lay the background; `shape` stretches what is laid on it, from its middle."""
        self._shape = shape
        self.size = (SIZE[0] * _FINER, SIZE[1] * _FINER)
        # Chance for pictures, not for secrets.
        self.chance = random.Random(seed)  # noqa: S311
        self.picture = background(self)
        self.garment = Image.new("L", self.size)

    def piece(
        self,
        outline: Sequence[Spot],
        fabric: Fabric,
        *,
        folds: Sequence[tuple[Sequence[Spot], float]] = (),
        lift: float = 1.0,
    ) -> None:
        """Lay a piece of cloth, with soft folds (a line and its depth) and a shadow below it."""
        shape = self.polygon(outline)
        self.shadow(shape, 0.010 * lift, 0.42)
        self.shadow(shape, 0.003, 0.30)
        cloth = self._shaded(fabric(self), shape, folds, min(1.0, lift))
        self.picture.paste(cloth, (0, 0), shape)
        self.garment = ImageChops.lighter(self.garment, shape)

    def polygon(self, outline: Sequence[Spot]) -> Image.Image:
        """Fill an outline: mode L."""
        layer = Image.new("L", self.size)
        ImageDraw.Draw(layer).polygon([self.at(spot) for spot in outline], fill=255)
        return layer

    def disc(self, spot: Spot, across: float) -> Image.Image:
        """Fill a circle: mode L; `across` in heights."""
        x, y = self.at(spot)
        radius = across * self.size[1] / 2
        layer = Image.new("L", self.size)
        ImageDraw.Draw(layer).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return layer

    def line(
        self, spots: Sequence[Spot], color: str, width: float, *, dash: float = 0.0
    ) -> None:
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
        x, y = spot[0] * self._shape[0] + 0.5, (spot[1] - 0.5) * self._shape[1] + 0.5
        return x * self.size[0], y * self.size[1]

    def _shaded(
        self,
        cloth: Image.Image,
        shape: Image.Image,
        folds: Sequence[tuple[Sequence[Spot], float]],
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
    for (x0, y0), (x1, y1) in zip(pixels, pixels[1:], strict=False):
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


# Outlines


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


def mirrored(half: Sequence[Spot]) -> list[Spot]:
    """Complete a right half, from the top middle to the bottom middle, with its left one."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def flipped(spots: Sequence[Spot]) -> list[Spot]:
    """Take the same spots on the other side."""
    return [(-x, y) for x, y in spots]


# Fabrics and backgrounds: each fills a whole sheet


def _noise(sheet: Sheet, cell: tuple[int, int], soft: float = 0.0) -> Image.Image:
    """Scatter grey: one random value a cell of so many pixels."""
    size = (sheet.size[0] // cell[0] + 1, sheet.size[1] // cell[1] + 1)
    grey = Image.frombytes("L", size, sheet.chance.randbytes(size[0] * size[1]))
    if soft:
        grey = grey.filter(ImageFilter.GaussianBlur(soft))
    return grey.resize(sheet.size, Image.Resampling.BICUBIC)


def _grained(picture: Image.Image, grain: Image.Image, strength: float) -> Image.Image:
    """Lay noise over a picture, lighter and darker."""
    return Image.blend(picture, ImageChops.overlay(picture, grain.convert("RGB")), strength)


def solid(color: str, weave: float = 0.16) -> Fabric:
    """Weave plain cloth."""

    def fabric(sheet: Sheet) -> Image.Image:
        plain = Image.new("RGB", sheet.size, color)
        woven = _grained(plain, _noise(sheet, (3, 3)), weave)
        return _grained(woven, _noise(sheet, (160, 160), 1), 0.25)

    return fabric


def striped(base: str, *stripes: tuple[str, float, float], pitch: float) -> Fabric:
    """Weave upright stripes: of a colour, from and to a share of the pitch (in widths)."""

    def fabric(sheet: Sheet) -> Image.Image:
        cloth = solid(base, 0.12)(sheet)
        pen = ImageDraw.Draw(cloth)
        step = pitch * sheet.size[0]
        for number in range(round(1 / pitch) + 1):
            for color, first, last in stripes:
                left = (number + first) * step
                pen.rectangle((left, 0, (number + last) * step, sheet.size[1]), fill=color)
        return _grained(cloth, _noise(sheet, (3, 3)), 0.1)

    return fabric


def plaid(base: str, *bands: tuple[str, float, float], pitch: float) -> Fabric:
    """Weave bands both ways: where they cross, both show."""

    def fabric(sheet: Sheet) -> Image.Image:
        cloth = Image.new("RGB", sheet.size, base)
        step = pitch * sheet.size[0]
        for color, first, last in bands:
            layer = Image.new("L", sheet.size)
            across = Image.new("L", sheet.size)
            pen, pen_across = ImageDraw.Draw(layer), ImageDraw.Draw(across)
            for number in range(round(sheet.size[1] / step) + 2):
                start, end = (number + first) * step, (number + last) * step
                pen.rectangle((start, 0, end, sheet.size[1]), fill=130)
                pen_across.rectangle((0, start, sheet.size[0], end), fill=130)
            cloth.paste(ImageColor.getrgb(color), (0, 0), layer)
            cloth.paste(ImageColor.getrgb(color), (0, 0), across)
        return _grained(cloth, _noise(sheet, (3, 3)), 0.16)

    return fabric


def floral(base: str, petals: Sequence[str], leaf: str) -> Fabric:
    """Print small flowers all over."""

    def fabric(sheet: Sheet) -> Image.Image:
        cloth = solid(base, 0.12)(sheet)
        pen = ImageDraw.Draw(cloth)
        step = sheet.size[0] // 17
        for row in range(sheet.size[1] // step + 2):
            for column in range(-1, 18):
                x = (column + 0.5 * (row % 2)) * step + sheet.chance.uniform(-0.2, 0.2) * step
                y = row * step * 0.9 + sheet.chance.uniform(-0.2, 0.2) * step
                _flower(pen, (x, y), step * sheet.chance.uniform(0.11, 0.18),
                        sheet.chance.choice(petals), leaf, sheet.chance)  # fmt: skip
        return _grained(cloth, _noise(sheet, (3, 3)), 0.1)

    return fabric


def _flower(
    pen: ImageDraw.ImageDraw, middle: Spot, size: float, petal: str, leaf: str,
    chance: random.Random,
) -> None:  # fmt: skip
    x, y = middle
    lean = chance.choice((-1, 1))
    pen.ellipse((x + lean * size * 1.1 - size * 0.9, y + size * 0.8, x + lean * size * 1.1 + size * 0.9,
                 y + size * 1.7), fill=leaf)  # fmt: skip
    for right, down in ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)):
        px, py = x + right * size, y + down * size
        pen.ellipse((px - size * 0.72, py - size * 0.72, px + size * 0.72, py + size * 0.72), fill=petal)
    pen.ellipse((x - size * 0.5, y - size * 0.5, x + size * 0.5, y + size * 0.5), fill="#f6d67a")


def denim(color: str) -> Fabric:
    """Weave twill that is worn pale in places."""

    def fabric(sheet: Sheet) -> Image.Image:
        cloth = Image.new("RGB", sheet.size, color)
        cloth = _grained(cloth, _noise(sheet, (2, 14)), 0.22)
        cloth = _grained(cloth, _noise(sheet, (9, 2)), 0.12)
        worn = _noise(sheet, (180, 320), 1).point(lambda value: max(0, value - 120) // 2)
        cloth.paste((186, 205, 226), (0, 0), worn)
        return cloth

    return fabric


def knit(color: str) -> Fabric:
    """Knit rows of stitches."""

    def fabric(sheet: Sheet) -> Image.Image:
        width, height = 26, 20
        stitch = Image.new("L", (width, height), 118)
        pen = ImageDraw.Draw(stitch)
        for shift in (-height, 0, height):
            pen.line((1, shift - 2, width / 2, height + shift - 2), fill=176, width=7)
            pen.line((width - 1, shift - 2, width / 2, height + shift - 2), fill=160, width=7)
            pen.line((width / 2, height + shift, width / 2, height + shift + 3), fill=70, width=3)
        pen.line((0, 0, 0, height), fill=72, width=3)
        stitch = stitch.filter(ImageFilter.GaussianBlur(1))
        grain = Image.new("L", sheet.size)
        for x in range(0, sheet.size[0], width):
            for y in range(0, sheet.size[1], height):
                grain.paste(stitch, (x, y))
        cloth = _grained(Image.new("RGB", sheet.size, color), grain, 0.75)
        return _grained(cloth, _noise(sheet, (3, 3)), 0.14)

    return fabric


def leather(color: str) -> Fabric:
    """Tan leather: an uneven sheen and a fine grain."""

    def fabric(sheet: Sheet) -> Image.Image:
        hide = Image.new("RGB", sheet.size, color)
        sheen = _noise(sheet, (90, 130), 1).point(lambda value: max(0, value - 126) // 3)
        hide.paste((196, 186, 190), (0, 0), sheen)
        return _grained(hide, _noise(sheet, (7, 7), 0.6), 0.3)

    return fabric


def ribbed(color: str) -> Fabric:
    """Knit cuffs and hems."""
    return striped(color, ("#00000000", 0, 0), (_darker(color), 0.0, 0.4), pitch=0.012)


def _darker(color: str, share: float = 0.78) -> str:
    red, green, blue = ImageColor.getrgb(color)[:3]
    return f"#{round(red * share):02x}{round(green * share):02x}{round(blue * share):02x}"


def wood(*tones: str) -> Fabric:
    """Lay boards, upright."""

    def fabric(sheet: Sheet) -> Image.Image:
        floor = Image.new("RGB", sheet.size)
        pen = ImageDraw.Draw(floor)
        boards = 6
        width = sheet.size[0] // boards + 1
        for board in range(boards):
            pen.rectangle((board * width, 0, (board + 1) * width, sheet.size[1]),
                          fill=sheet.chance.choice(tones))  # fmt: skip
        floor = _grained(floor, _noise(sheet, (5, 260)), 0.32)
        floor = _grained(floor, _noise(sheet, (26, 900), 0.8), 0.3)
        pen = ImageDraw.Draw(floor)
        for board in range(1, boards):
            pen.line((board * width, 0, board * width, sheet.size[1]), fill="#4a3526", width=5)
            end = sheet.chance.randrange(sheet.size[1])
            pen.line((board * width, end, (board + 1) * width, end), fill="#4a3526", width=4)
        return _lit(sheet, floor)

    return fabric


def paper(color: str) -> Fabric:
    """Lay coloured paper."""

    def fabric(sheet: Sheet) -> Image.Image:
        flat = Image.new("RGB", sheet.size, color)
        return _lit(sheet, _grained(flat, _noise(sheet, (4, 4)), 0.07))

    return fabric


def linen(color: str) -> Fabric:
    """Lay a coarse cloth."""

    def fabric(sheet: Sheet) -> Image.Image:
        cloth = Image.new("RGB", sheet.size, color)
        cloth = _grained(cloth, _noise(sheet, (4, 70)), 0.2)
        cloth = _grained(cloth, _noise(sheet, (70, 4)), 0.2)
        return _lit(sheet, _grained(cloth, _noise(sheet, (300, 420), 1), 0.35))

    return fabric


def concrete(color: str) -> Fabric:
    """Pour a floor."""

    def fabric(sheet: Sheet) -> Image.Image:
        floor = Image.new("RGB", sheet.size, color)
        for cell, strength in ((260, 0.4), (60, 0.22), (14, 0.12), (3, 0.12)):
            floor = _grained(floor, _noise(sheet, (cell, cell), 0.8), strength)
        return _lit(sheet, floor)

    return fabric


def _lit(sheet: Sheet, floor: Image.Image) -> Image.Image:
    """Let light fall from the upper left, and the corners darken."""
    light = Image.radial_gradient("L").resize((sheet.size[0] * 2, sheet.size[1] * 2))
    left, top = round(sheet.size[0] * 0.65), round(sheet.size[1] * 0.7)
    dark = light.crop((left, top, left + sheet.size[0], top + sheet.size[1]))
    dark = dark.point(lambda value: round(max(0, value - 30) * 0.55))
    return Image.composite(Image.new("RGB", sheet.size, "#2c2530"), floor, dark)


# The garments


def dress() -> Sheet:
    """Draw a summer dress on linen."""
    sheet = Sheet(linen("#e9e1d4"), 1, (1.12, 0.98))
    cloth = floral("#27476e", ("#f3b8b0", "#f7e3d4", "#e58f8a"), "#6f9a86")
    back = mirrored(curve([(0.0, 0.13), (0.09, 0.115), (0.1, 0.2), (0.0, 0.26)]))
    sheet.piece(back, solid("#1c3350"), lift=0.5)
    skirt = mirrored(
        [(0.0, 0.43), (0.118, 0.43), *curve([(0.118, 0.43), (0.2, 0.62), (0.335, 0.87)]),
         *curve([(0.335, 0.87), (0.27, 0.915), (0.2, 0.9), (0.13, 0.93), (0.06, 0.912), (0.0, 0.935)])]
    )  # fmt: skip
    folds = [
        ([(0.3 * lean, 0.45), (0.62 * lean, 0.66), (lean, 0.9)], 0.3)
        for lean in (-0.27, -0.2, -0.12, -0.05, 0.03, 0.11, 0.19, 0.26)
    ]
    sheet.piece(skirt, cloth, folds=folds)
    bodice = mirrored(
        [*curve([(0.0, 0.225), (0.06, 0.195), (0.078, 0.1)]), (0.108, 0.098),
         *curve([(0.108, 0.098), (0.112, 0.19), (0.155, 0.255)]),
         *curve([(0.155, 0.255), (0.138, 0.34), (0.12, 0.435)]), (0.0, 0.44)]
    )  # fmt: skip
    sheet.piece(bodice, cloth, lift=0.6, folds=[
        ([(-0.1, 0.3), (-0.05, 0.36), (-0.045, 0.43)], 0.22),
        ([(0.1, 0.29), (0.06, 0.36), (0.05, 0.43)], 0.22),
    ])  # fmt: skip
    sheet.piece(mirrored([(0.0, 0.425), (0.124, 0.422), (0.122, 0.452), (0.0, 0.456)]),
                solid("#e58f8a"), lift=0.4)  # fmt: skip
    sheet.piece(curve([(0.03, 0.445), (0.09, 0.5), (0.075, 0.6), (0.055, 0.6), (0.06, 0.51), (0.02, 0.455)]),
                solid("#d97f7c"), lift=0.5)  # fmt: skip
    sheet.piece(curve([(0.02, 0.445), (0.03, 0.52), (0.0, 0.61), (-0.018, 0.6), (0.008, 0.52), (0.0, 0.45)]),
                solid("#e58f8a"), lift=0.5)  # fmt: skip
    sheet.dot((0.018, 0.44), 0.03, "#e58f8a")
    sheet.line(curve([(-0.33, 0.862), (-0.26, 0.9), (-0.2, 0.887), (-0.13, 0.916), (-0.06, 0.9), (0, 0.921),
                      (0.06, 0.9), (0.13, 0.916), (0.2, 0.887), (0.26, 0.9), (0.33, 0.862)]),
               "#c9d3df", 0.0012, dash=0.006)  # fmt: skip
    return sheet


def shirt() -> Sheet:
    """Draw a striped shirt on boards."""
    sheet = Sheet(wood("#b98a5e", "#c49669", "#ad7d52", "#b58259"), 2, (1.16, 0.88))
    cloth = striped("#f4f6fa", ("#6d93c7", 0.0, 0.34), ("#cfdcee", 0.62, 0.7), pitch=0.028)
    sleeve = [*curve([(0.2, 0.17), (0.3, 0.235), (0.405, 0.405)]), (0.315, 0.47),
              *curve([(0.315, 0.47), (0.25, 0.4), (0.19, 0.37)])]  # fmt: skip
    wrinkle = [([(0.22, 0.22), (0.27, 0.3), (0.33, 0.42)], 0.2), ([(0.3, 0.26), (0.34, 0.33), (0.37, 0.42)], 0.14)]
    sheet.piece(sleeve, cloth, folds=wrinkle)
    sheet.piece(flipped(sleeve), cloth, folds=[(flipped(line), depth) for line, depth in wrinkle])
    for side in (sleeve, flipped(sleeve)):
        outer, inner = side[29], side[30]
        sheet.line([(outer[0] * 0.965, outer[1] - 0.012), (inner[0] * 0.965, inner[1] - 0.012)],
                   "#54719c", 0.0012, dash=0.005)  # fmt: skip
    sheet.piece(mirrored(curve([(0.0, 0.105), (0.07, 0.11), (0.085, 0.16), (0.0, 0.235)])),
                solid("#c3cfdf"), lift=0.4)  # fmt: skip
    body = mirrored(
        [*curve([(0.0, 0.232), (0.05, 0.18), (0.085, 0.125)]), *curve([(0.085, 0.125), (0.16, 0.148), (0.225, 0.182)]),
         *curve([(0.225, 0.182), (0.208, 0.28), (0.215, 0.385)]), *curve([(0.215, 0.385), (0.205, 0.6), (0.218, 0.83)]),
         *curve([(0.218, 0.83), (0.17, 0.885), (0.09, 0.905), (0.0, 0.905)])]
    )  # fmt: skip
    sheet.piece(body, cloth, folds=[
        ([(-0.19, 0.4), (-0.13, 0.5), (-0.12, 0.62)], 0.16), ([(0.18, 0.42), (0.12, 0.54), (0.13, 0.7)], 0.16),
        ([(-0.15, 0.68), (-0.1, 0.76), (-0.11, 0.87)], 0.13), ([(0.06, 0.62), (0.075, 0.74), (0.06, 0.87)], 0.12),
    ])  # fmt: skip
    sheet.piece([(-0.021, 0.22), (0.021, 0.22), (0.023, 0.904), (-0.019, 0.904)], cloth, lift=0.35)
    for number in range(6):
        sheet.dot((0.001, 0.285 + number * 0.108), 0.0135, "#fbfaf4", rim="#b9b4a8")
    pocket = [(0.075, 0.36), (0.175, 0.355), (0.177, 0.455), (0.128, 0.478), (0.078, 0.46)]
    sheet.piece(pocket, cloth, lift=0.3)
    sheet.line([(0.079, 0.373), (0.172, 0.368)], "#54719c", 0.0012, dash=0.005)
    collar = [*curve([(0.0, 0.232), (0.035, 0.19), (0.08, 0.112)]), (0.092, 0.128), (0.115, 0.215), (0.06, 0.262)]
    sheet.piece(collar, cloth, lift=0.6)
    sheet.piece(flipped(collar), cloth, lift=0.6)
    for side in (1, -1):
        sheet.line([(side * 0.106, 0.212), (side * 0.06, 0.251), (side * 0.01, 0.229)], "#54719c", 0.0011, dash=0.005)
    return sheet


def hoodie() -> Sheet:
    """Draw a hoodie on concrete."""
    sheet = Sheet(concrete("#b9bcc0"), 3, (1.16, 0.9))
    color = "#d79a2b"
    cloth, rib = solid(color, 0.2), ribbed("#c98f27")
    hood_back = mirrored(curve([(0.0, 0.05), (0.09, 0.065), (0.135, 0.13), (0.12, 0.2), (0.0, 0.26)]))
    sheet.piece(hood_back, solid(_darker(color, 0.8)), lift=0.7)
    sleeve = [*curve([(0.19, 0.2), (0.28, 0.27), (0.34, 0.45), (0.385, 0.68)]), (0.3, 0.705),
              *curve([(0.3, 0.705), (0.25, 0.55), (0.2, 0.43)])]  # fmt: skip
    cuff = [(0.385, 0.672), (0.378, 0.745), (0.312, 0.76), (0.3, 0.697)]
    creases = [([(0.22, 0.3), (0.27, 0.42), (0.29, 0.56)], 0.24), ([(0.33, 0.44), (0.3, 0.5), (0.27, 0.53)], 0.2),
               ([(0.36, 0.6), (0.34, 0.64), (0.31, 0.66)], 0.2)]  # fmt: skip
    for turn in (list, flipped):
        sheet.piece(turn(cuff), rib)
        sheet.piece(turn(sleeve), cloth, folds=[(turn(line), depth) for line, depth in creases])
    hem = mirrored([(0.0, 0.84), (0.205, 0.835), (0.195, 0.905), (0.0, 0.915)])
    sheet.piece(hem, rib)
    body = mirrored(
        [*curve([(0.0, 0.25), (0.06, 0.225), (0.1, 0.165)]), *curve([(0.1, 0.165), (0.16, 0.185), (0.225, 0.225)]),
         *curve([(0.225, 0.225), (0.215, 0.34), (0.225, 0.44)]), *curve([(0.225, 0.44), (0.215, 0.64), (0.22, 0.845)]), (0.0, 0.855)]
    )  # fmt: skip
    sheet.piece(body, cloth, folds=[
        ([(-0.2, 0.42), (-0.13, 0.48), (-0.08, 0.49)], 0.22), ([(0.2, 0.43), (0.14, 0.5), (0.07, 0.52)], 0.22),
        ([(-0.17, 0.74), (-0.15, 0.79), (-0.16, 0.84)], 0.2), ([(0.16, 0.72), (0.15, 0.78), (0.17, 0.84)], 0.2),
    ])  # fmt: skip
    pocket = mirrored([(0.0, 0.6), (0.1, 0.598), *curve([(0.1, 0.598), (0.135, 0.66), (0.17, 0.7)]), (0.172, 0.83), (0.0, 0.838)])
    sheet.piece(pocket, cloth, lift=0.5, folds=[([(-0.04, 0.63), (0.0, 0.7), (0.02, 0.8)], 0.16)])
    for side in (1, -1):
        sheet.line([(side * x, y) for x, y in curve([(0.095, 0.606), (0.128, 0.665), (0.162, 0.705)])],
                   "#8a5f12", 0.0016, dash=0.006)  # fmt: skip
    sheet.line([(-0.17, 0.844), (0.17, 0.844)], "#8a5f12", 0.0014, dash=0.006)
    lip = [*curve([(0.0, 0.285), (0.07, 0.25), (0.125, 0.155), (0.105, 0.085)]),
           *curve([(0.105, 0.085), (0.085, 0.15), (0.045, 0.205), (0.0, 0.235)])]  # fmt: skip
    sheet.piece(lip, cloth, lift=0.6, folds=[([(0.03, 0.25), (0.07, 0.205), (0.1, 0.14)], 0.18)])
    sheet.piece(flipped(lip), cloth, lift=0.6, folds=[([(-0.03, 0.25), (-0.07, 0.205), (-0.1, 0.14)], 0.18)])
    for side, length in ((1, 0.455), (-1, 0.43)):
        cord = curve([(side * 0.04, 0.257), (side * 0.055, 0.34), (side * 0.045, length)])
        sheet.line([(x + 0.004, y + 0.004) for x, y in cord], "#7d5816", 0.006)
        sheet.line(cord, "#f5efe2", 0.006)
        sheet.line([cord[-1], (cord[-1][0], cord[-1][1] + 0.02)], "#6f757c", 0.007)
        sheet.dot((side * 0.04, 0.257), 0.011, "#d9dde0", rim="#7b8086")
    return sheet


def trousers() -> Sheet:
    """Draw jeans on a pale floor."""
    sheet = Sheet(wood("#e6ddcf", "#ded3c3", "#ebe3d7", "#d9cdbc"), 4, (1.2, 0.98))
    cloth, thread = denim("#33557f"), "#d99a4a"
    leg = [(0.0, 0.1), (0.17, 0.1), *curve([(0.17, 0.1), (0.2, 0.24), (0.215, 0.5), (0.225, 0.93)]), (0.09, 0.938),
           *curve([(0.09, 0.938), (0.07, 0.62), (0.012, 0.34)]), (0.0, 0.33)]  # fmt: skip
    creases = [([(0.03, 0.32), (0.09, 0.345), (0.15, 0.35)], 0.26), ([(0.03, 0.35), (0.08, 0.39), (0.13, 0.405)], 0.22),
               ([(0.1, 0.56), (0.14, 0.575), (0.2, 0.565)], 0.2), ([(0.09, 0.6), (0.14, 0.615), (0.19, 0.61)], 0.2),
               ([(0.14, 0.4), (0.15, 0.6), (0.155, 0.9)], 0.13), ([(0.11, 0.85), (0.16, 0.87), (0.21, 0.86)], 0.16)]  # fmt: skip
    for turn in (flipped, list):
        sheet.piece(turn(leg), cloth, folds=[(turn(line), depth) for line, depth in creases])
        sheet.line(turn([(0.094, 0.917), (0.221, 0.909)]), thread, 0.0016, dash=0.006)
        sheet.line(turn(curve([(0.163, 0.105), (0.192, 0.24), (0.2, 0.36)])), thread, 0.0014, dash=0.006)
        pocket = turn(curve([(0.08, 0.1), (0.09, 0.15), (0.13, 0.185), (0.19, 0.195)]))
        sheet.line(pocket, "#1f3658", 0.004)
        for shift in (0.006, 0.012):
            sheet.line([(x, y + shift) for x, y in pocket], thread, 0.0014, dash=0.006)
    sheet.line(curve([(0.0, 0.1), (0.002, 0.22), (0.0, 0.33)]), "#1f3658", 0.004)
    for shift in (0.0, 0.01):
        sheet.line(curve([(0.05 - shift, 0.1), (0.047 - shift, 0.2), (0.03 - shift / 2, 0.262), (0.0, 0.285 - shift)]),
                   thread, 0.0014, dash=0.006)  # fmt: skip
    band = mirrored([(0.0, 0.058), *curve([(0.0, 0.058), (0.09, 0.054), (0.172, 0.05)]), (0.175, 0.105), (0.0, 0.113)])
    sheet.piece(band, cloth, lift=0.4)
    for edge in (0.065, 0.104):
        sheet.line([(-0.168, edge - 0.006), (0.0, edge), (0.168, edge - 0.006)], thread, 0.0014, dash=0.006)
    for x in (-0.13, -0.055, 0.065, 0.13):
        sheet.piece([(x - 0.009, 0.045), (x + 0.009, 0.045), (x + 0.009, 0.117), (x - 0.009, 0.117)], cloth, lift=0.3)
    sheet.dot((0.012, 0.085), 0.02, "#c9a15c", rim="#8a6a33")
    return sheet


def skirt() -> Sheet:
    """Draw a pleated skirt on pink paper."""
    sheet = Sheet(paper("#f0c9c4"), 5)
    cloth = plaid("#7d2233", ("#1f3b4d", 0.08, 0.36), ("#e8d9b8", 0.5, 0.535), ("#2f6b58", 0.62, 0.84), pitch=0.115)
    pleats = 9
    top, bottom = 0.265, 0.80
    for number in range(pleats):
        left, right = -0.5 + number / pleats, -0.5 + (number + 1) / pleats
        sag = 0.05 * (1 - (left + right) ** 2)
        outline = [
            (left * 0.4, top), (right * 0.4 + 0.006, top),
            (right * 0.82 + 0.012, bottom + sag * (1 - right**2)), (left * 0.82 + 0.004, bottom + sag * (1 - left**2) + 0.006),
        ]  # fmt: skip
        middle = (left + right) / 2
        sheet.piece(outline, cloth, lift=0.5, folds=[
            ([(middle * 0.4 + 0.012, top), (middle * 0.62 + 0.02, 0.55), (middle * 0.82 + 0.03, bottom)], 0.16),
        ])  # fmt: skip
    band = mirrored([(0.0, 0.205), *curve([(0.0, 0.205), (0.1, 0.202), (0.2, 0.196)]), (0.206, 0.272), (0.0, 0.284)])
    sheet.piece(band, solid("#6a1c2b"), lift=0.5)
    for edge in (0.213, 0.272):
        sheet.line([(-0.2, edge - 0.006), (0.0, edge), (0.2, edge - 0.006)], "#c98a8f", 0.0013, dash=0.006)
    for x in (0.125, 0.165):
        sheet.dot((x, 0.238), 0.02, "#d8b878", rim="#8d6e3a")
    return sheet


def jacket() -> Sheet:
    """Draw a leather jacket on terracotta paper."""
    sheet = Sheet(paper("#d9a283"), 6, (1.16, 0.95))
    hide, metal = leather("#2a2529"), "#cfd2d6"
    sleeve = [*curve([(0.19, 0.16), (0.285, 0.24), (0.345, 0.45), (0.39, 0.75)]), (0.305, 0.775),
              *curve([(0.305, 0.775), (0.26, 0.58), (0.2, 0.42)])]  # fmt: skip
    creases = [([(0.23, 0.28), (0.28, 0.42), (0.3, 0.58)], 0.3), ([(0.335, 0.46), (0.3, 0.5), (0.26, 0.51)], 0.26),
               ([(0.35, 0.53), (0.31, 0.56), (0.28, 0.56)], 0.22), ([(0.37, 0.68), (0.34, 0.71), (0.31, 0.71)], 0.2)]  # fmt: skip
    for turn in (list, flipped):
        sheet.piece(turn(sleeve), hide, folds=[(turn(line), depth) for line, depth in creases])
        sheet.line(turn([(0.31, 0.735), (0.386, 0.712)]), "#5a5258", 0.0014, dash=0.006)
        sheet.line(turn([(0.345, 0.765), (0.337, 0.68)]), metal, 0.003)
    sheet.piece(mirrored(curve([(0.0, 0.12), (0.08, 0.115), (0.1, 0.18), (0.09, 0.5), (0.06, 0.78), (0.0, 0.79)])),
                striped("#7a2e35", ("#8f3a40", 0.0, 0.5), pitch=0.03), lift=0.4)  # fmt: skip
    front = [*curve([(0.085, 0.125), (0.15, 0.14), (0.215, 0.17)]), *curve([(0.215, 0.17), (0.205, 0.3), (0.218, 0.42)]),
             *curve([(0.218, 0.42), (0.205, 0.6), (0.2, 0.8)]), (0.045, 0.825),
             *curve([(0.045, 0.825), (0.045, 0.55), (0.055, 0.33), (0.05, 0.2)])]  # fmt: skip
    dents = [([(0.2, 0.42), (0.14, 0.47), (0.09, 0.46)], 0.26), ([(0.19, 0.63), (0.15, 0.7), (0.15, 0.79)], 0.22),
             ([(0.16, 0.2), (0.15, 0.28), (0.17, 0.36)], 0.16)]  # fmt: skip
    for turn in (list, flipped):
        sheet.piece(turn(front), hide, folds=[(turn(line), depth) for line, depth in dents])
        zipper = turn(curve([(0.045, 0.82), (0.045, 0.55), (0.055, 0.35), (0.056, 0.3)]))
        sheet.line(zipper, "#141113", 0.009)
        sheet.line(zipper, metal, 0.005, dash=0.0045)
        sheet.line(turn([(0.09, 0.6), (0.165, 0.53)]), "#0f0c0e", 0.008)
        sheet.line(turn([(0.09, 0.6), (0.165, 0.53)]), metal, 0.004, dash=0.0045)
        sheet.line(turn([(0.05, 0.765), (0.2, 0.742)]), "#5a5258", 0.0014, dash=0.006)
        sheet.dot(turn([(0.09, 0.6)])[0], 0.012, metal, rim="#83868b")
        lapel = [*curve([(0.03, 0.185), (0.06, 0.13), (0.085, 0.105)]), (0.125, 0.135), (0.15, 0.24), (0.115, 0.255),
                 (0.125, 0.305), *curve([(0.125, 0.305), (0.07, 0.36), (0.048, 0.45)]),
                 *curve([(0.048, 0.45), (0.05, 0.3), (0.03, 0.185)])]  # fmt: skip
        sheet.piece(turn(lapel), hide, lift=0.7, folds=[(turn([(0.06, 0.2), (0.08, 0.27), (0.07, 0.34)]), 0.18)])
        for spot in ((0.133, 0.228), (0.113, 0.296)):
            sheet.dot(turn([spot])[0], 0.011, metal, rim="#83868b")
    belt = [(0.045, 0.783), (0.203, 0.76), (0.203, 0.808), (0.045, 0.834)]
    for turn in (list, flipped):
        sheet.piece(turn(belt), hide, lift=0.5)
        sheet.line(turn([(0.055, 0.79), (0.195, 0.77)]), "#5a5258", 0.0013, dash=0.006)
    sheet.dot((0.075, 0.805), 0.02, metal, rim="#83868b")
    return sheet


def tshirt() -> Sheet:
    """Draw a printed T-shirt on mint paper."""
    sheet = Sheet(paper("#bfdccf"), 7, (1.1, 0.9))
    cloth = solid("#fbf8f2", 0.12)
    sleeve = [*curve([(0.2, 0.165), (0.31, 0.23), (0.42, 0.385)]), (0.325, 0.45),
              *curve([(0.325, 0.45), (0.26, 0.385), (0.2, 0.36)])]  # fmt: skip
    for turn in (list, flipped):
        sheet.piece(turn(sleeve), cloth, folds=[(turn([(0.24, 0.23), (0.28, 0.31), (0.34, 0.41)]), 0.15)])
        sheet.line(turn([(0.318, 0.437), (0.407, 0.376)]), "#cfc6b8", 0.0014, dash=0.005)
    sheet.piece(mirrored(curve([(0.0, 0.122), (0.075, 0.118), (0.08, 0.16), (0.0, 0.2)])), solid("#d9d3c6"), lift=0.3)
    body = mirrored(
        [*curve([(0.0, 0.2), (0.06, 0.178), (0.095, 0.122)]), *curve([(0.095, 0.122), (0.16, 0.142), (0.23, 0.178)]),
         *curve([(0.23, 0.178), (0.215, 0.28), (0.222, 0.38)]), *curve([(0.222, 0.38), (0.212, 0.6), (0.22, 0.87)]),
         *curve([(0.22, 0.87), (0.1, 0.885), (0.0, 0.887)])]
    )  # fmt: skip
    sheet.piece(body, cloth, folds=[
        ([(-0.2, 0.38), (-0.15, 0.44), (-0.14, 0.56)], 0.14), ([(0.19, 0.39), (0.15, 0.46), (0.15, 0.6)], 0.14),
        ([(-0.12, 0.66), (-0.08, 0.75), (-0.1, 0.87)], 0.12), ([(0.1, 0.64), (0.08, 0.76), (0.11, 0.87)], 0.12),
        ([(0.0, 0.7), (0.015, 0.79), (0.0, 0.88)], 0.1),
    ])  # fmt: skip
    _print(sheet)
    rib = [*curve([(-0.095, 0.122), (-0.06, 0.178), (0.0, 0.2), (0.06, 0.178), (0.095, 0.122)]),
           *curve([(0.113, 0.127), (0.073, 0.192), (0.0, 0.219), (-0.073, 0.192), (-0.113, 0.127)])]  # fmt: skip
    sheet.piece(rib, cloth, lift=0.25)
    sheet.line([(-0.217, 0.856), (0.0, 0.872), (0.217, 0.856)], "#cfc6b8", 0.0014, dash=0.005)
    return sheet


def _print(sheet: Sheet) -> None:
    """Print a sunset behind hills on the chest, and a word below."""
    disc = sheet.disc((0.0, 0.41), 0.25)
    sheet.tone(disc, "#f4a259", 0.95)
    sun = sheet.disc((0.02, 0.375), 0.11)
    sheet.tone(sun, "#fbe3b0", 0.95)
    for color, spots in (
        ("#d1603d", [(-0.2, 0.43), (-0.1, 0.405), (-0.03, 0.435), (0.06, 0.41), (0.2, 0.44), (0.2, 0.6), (-0.2, 0.6)]),
        ("#8f3b46", [(-0.2, 0.47), (-0.06, 0.44), (0.03, 0.47), (0.1, 0.45), (0.2, 0.47), (0.2, 0.6), (-0.2, 0.6)]),
        ("#3d2c45", [(-0.2, 0.485), (-0.08, 0.488), (0.02, 0.475), (0.2, 0.5), (0.2, 0.6), (-0.2, 0.6)]),
    ):
        hill = sheet.polygon(curve(spots))
        sheet.tone(ImageChops.darker(hill, disc), color, 0.95)
    font = ImageFont.load_default(round(sheet.size[1] * 0.03))
    pen = ImageDraw.Draw(sheet.picture)
    pen.text(sheet.at((0.0, 0.575)), "G O L D E N   H O U R", "#3d2c45", font, anchor="mm")


def sweater() -> Sheet:
    """Draw a knitted sweater on dark boards."""
    sheet = Sheet(wood("#6b4a35", "#744f38", "#5f412e", "#684631"), 8, (1.18, 0.9))
    cloth, rib = knit("#e7ded2"), ribbed("#dcd2c4")
    sleeve = [*curve([(0.19, 0.2), (0.285, 0.28), (0.34, 0.48), (0.375, 0.7)]), (0.285, 0.725),
              *curve([(0.285, 0.725), (0.25, 0.57), (0.2, 0.44)])]  # fmt: skip
    cuff = [(0.374, 0.692), (0.366, 0.775), (0.3, 0.79), (0.286, 0.717)]
    creases = [([(0.23, 0.3), (0.27, 0.43), (0.28, 0.6)], 0.2), ([(0.33, 0.48), (0.29, 0.52), (0.26, 0.53)], 0.18)]
    for turn in (list, flipped):
        sheet.piece(turn(cuff), rib)
        sheet.piece(turn(sleeve), cloth, folds=[(turn(line), depth) for line, depth in creases])
    sheet.piece(mirrored([(0.0, 0.83), (0.215, 0.825), (0.205, 0.9), (0.0, 0.91)]), rib)
    body = mirrored(
        [*curve([(0.0, 0.225), (0.05, 0.215), (0.09, 0.165)]), *curve([(0.09, 0.165), (0.16, 0.185), (0.228, 0.225)]),
         *curve([(0.228, 0.225), (0.216, 0.34), (0.23, 0.45)]), *curve([(0.23, 0.45), (0.222, 0.64), (0.228, 0.84)]), (0.0, 0.85)]
    )  # fmt: skip
    sheet.piece(body, cloth, folds=[
        ([(-0.2, 0.44), (-0.15, 0.5), (-0.13, 0.6)], 0.18), ([(0.2, 0.45), (0.15, 0.52), (0.14, 0.64)], 0.18),
        ([(-0.06, 0.74), (-0.03, 0.79), (-0.05, 0.84)], 0.14), ([(0.09, 0.72), (0.07, 0.78), (0.1, 0.84)], 0.14),
    ])  # fmt: skip
    for x in (-0.1, 0.0, 0.1):
        _cable(sheet, x)
    collar = mirrored([(0.0, 0.1), *curve([(0.0, 0.1), (0.07, 0.097), (0.083, 0.112)]),
                       *curve([(0.083, 0.112), (0.09, 0.16), (0.104, 0.19)]), *curve([(0.104, 0.19), (0.06, 0.225), (0.0, 0.235)])])  # fmt: skip
    sheet.piece(collar, rib, lift=0.6)
    sheet.piece(mirrored(curve([(0.0, 0.104), (0.06, 0.103), (0.07, 0.113), (0.04, 0.122), (0.0, 0.124)])),
                solid("#a3988a"), lift=0.15)  # fmt: skip
    return sheet


def _cable(sheet: Sheet, x: float) -> None:
    """Twist two strands down the front of a sweater."""
    swings = 9
    for phase in (1, -1):
        spots = [(x + phase * 0.016 * (1 if step % 2 else -1), 0.27 + step * 0.062) for step in range(swings + 1)]
        strand = curve(spots)
        for shift, color, width in ((0.004, "#b3a796", 0.011), (0.0, "#d3c7b7", 0.011), (-0.0025, "#f3ece2", 0.006)):
            sheet.line([(sx + shift, sy) for sx, sy in strand], color, width)


GARMENTS: Final[dict[str, Callable[[], Sheet]]] = {
    "dress.jpg": dress,
    "shirt.jpg": shirt,
    "hoodie.jpg": hoodie,
    "trousers.jpg": trousers,
    "skirt.png": skirt,
    "jacket.jpg": jacket,
    "tshirt.jpg": tshirt,
    "sweater.jpg": sweater,
}
MASKED: Final = "jacket.jpg"
"""The sample that has a mask beside it."""


def write_garment(name: str, folder: Path) -> None:
    """Draw one garment, and its mask if it is to have one."""
    sheet = GARMENTS[name]()
    picture = sheet.picture.resize(SIZE, Image.Resampling.BOX)
    if name.endswith(".png"):
        # PNG keeps every pixel: a smaller picture of fewer colours stays a modest file.
        small = picture.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS)
        small.quantize(128, dither=Image.Dither.NONE).save(folder / name, optimize=True)
    else:
        picture.save(folder / name, quality=79, optimize=True, progressive=True)
    if name == MASKED:
        mask = sheet.garment.resize(SIZE, Image.Resampling.BOX)
        mask.save((folder / name).with_suffix(".mask.png"), optimize=True)


def write_portrait(original: Path, folder: Path) -> None:
    """Crop the portrait."""
    with Image.open(original) as picture:
        crop = picture.convert("RGB").crop(_PORTRAIT_BOX)
    crop.resize((crop.width * 2, crop.height * 2), Image.Resampling.LANCZOS).save(
        folder / "portrait.jpg", quality=84, optimize=True
    )


def main() -> None:
    """Write all samples."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--portrait", type=Path, help="the picture to crop portrait.jpg from")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write")
    arguments = parser.parse_args()
    for name in GARMENTS:
        write_garment(name, arguments.folder)
    if arguments.portrait:
        write_portrait(arguments.portrait, arguments.folder)
    whole = (arguments.folder / "shirt.jpg").read_bytes()
    (arguments.folder / "broken.jpg").write_bytes(whole[:_KEPT_OF_BROKEN])


if __name__ == "__main__":
    main()
