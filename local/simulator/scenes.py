"""Draws preset scenes. It is not documented what the vendor's scenes show; these are invented."""

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from PIL import Image, ImageColor, ImageDraw, ImageFilter

Color = tuple[int, int, int]
Point = tuple[float, float]

_SIDE: Final = 720
"""The longest side of a drawn scene, in pixels; more is not needed, since it is blurred."""

_CACHED: Final = 12


class _Canvas:
    """A picture to draw on, in units of its width and height: (0, 0) is top left, (1, 1) is not."""

    def __init__(self, size: tuple[int, int], chance: random.Random) -> None:
        self.picture = Image.new("RGB", size)
        self.chance = chance
        self._draw = ImageDraw.Draw(self.picture)

    def fade(self, top: float, bottom: float, *colors: str) -> None:
        """Fill the height from top to bottom with colours that flow into each other."""
        first, last = round(top * self.picture.height), round(bottom * self.picture.height)
        column = Image.new("RGB", (1, len(colors)))
        column.putdata([_rgb(color) for color in colors])
        # Bilinear resizing leaves half a source pixel flat at each end, so the ends are cropped.
        box = (0.0, 0.5, 1.0, len(colors) - 0.5)
        band = column.resize(
            (self.picture.width, max(1, last - first)), Image.Resampling.BILINEAR, box
        )
        self.picture.paste(band, (0, first))

    def area(self, points: Sequence[Point], color: str | Color, alpha: float = 1.0) -> None:
        """Fill a polygon."""
        pixels = self._pixels(points)
        box = (*map(min, *pixels), *map(max, *pixels))
        self._fill(
            box,
            lambda draw, left, top: draw.polygon(
                [(x - left, y - top) for x, y in pixels], fill=255
            ),
            color,
            alpha,
        )

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        color: str | Color,
        alpha: float = 1.0,
    ) -> None:
        """Fill a rectangle."""
        self.area([(left, top), (right, top), (right, bottom), (left, bottom)], color, alpha)

    def oval(
        self,
        x: float,
        y: float,
        across: float,
        color: str | Color,
        alpha: float = 1.0,
        *,
        flat: float = 1.0,
    ) -> None:
        """Fill an oval around a point; `across` is in widths, `flat` its height by its width."""
        width, height = self.picture.size
        radius = across * width / 2
        box = (
            x * width - radius,
            y * height - radius * flat,
            x * width + radius,
            y * height + radius * flat,
        )
        self._fill(
            box,
            lambda draw, left, top: draw.ellipse(
                (box[0] - left, box[1] - top, box[2] - left, box[3] - top), fill=255
            ),
            color,
            alpha,
        )

    def glow(
        self, x: float, y: float, across: float, color: str, alpha: float, *, flat: float = 1.0
    ) -> None:
        """Shine a light around a point that fades outwards."""
        width = max(2, round(across * self.picture.width))
        height = max(2, round(width * flat))
        light = Image.radial_gradient("L").point(
            lambda value: round(255 * alpha * max(0.0, 1 - value / 181) ** 2)
        )
        corner = (
            round(x * self.picture.width) - width // 2,
            round(y * self.picture.height) - height // 2,
        )
        self.picture.paste(
            _rgb(color),
            (*corner, corner[0] + width, corner[1] + height),
            light.resize((width, height)),
        )

    def blur(self, strength: float) -> None:
        """Blur what is drawn so far, with a radius as a share of the longest side."""
        radius = strength * max(self.picture.size)
        self.picture.paste(self.picture.filter(ImageFilter.GaussianBlur(radius)))

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        width, height = self.picture.size
        return [(x * width, y * height) for x, y in points]

    def _fill(
        self,
        box: tuple[float, float, float, float],
        shape: Callable[[ImageDraw.ImageDraw, int, int], None],
        color: str | Color,
        alpha: float,
    ) -> None:
        """Fill a shape inside a box; it is drawn on a layer whose corner is given to it."""
        left, top = math.floor(box[0]), math.floor(box[1])
        layer = Image.new("L", (math.ceil(box[2]) - left + 1, math.ceil(box[3]) - top + 1))
        shape(ImageDraw.Draw(layer), left, top)
        if alpha < 1:
            layer = layer.point(lambda value: round(value * alpha))
        self.picture.paste(_rgb(color), (left, top), layer)


def _rgb(color: str | Color) -> Color:
    if isinstance(color, str):
        red, green, blue = ImageColor.getrgb(color)[:3]
        return red, green, blue
    return color


def _studio(canvas: _Canvas) -> None:
    wall, shade, floor = canvas.chance.choice(
        [
            ("#e9e2da", "#c9bdb0", "#d9cfc4"),
            ("#dfe5e6", "#b3c0c4", "#cdd7d9"),
            ("#ecdcd6", "#cfb0a6", "#e0c8bf"),
        ]
    )
    canvas.fade(0, 0.74, shade, wall, wall)
    canvas.fade(0.74, 1, wall, floor, shade)
    canvas.glow(0.5, 0.42, 1.7, "#ffffff", 0.75)
    canvas.glow(0.5, 0.93, 1.1, "#000000", 0.18, flat=0.25)
    canvas.blur(0.02)


def _street(canvas: _Canvas) -> None:
    chance = canvas.chance
    canvas.fade(0, 0.62, "#8fb3d9", "#f4d9b8", "#ffe7c2")
    canvas.glow(0.52, 0.5, 1.0, "#fff3d6", 0.9)
    for edge in (0, 1):
        # From far to near: wide and hazy first, tall and dark at the picture's edge last.
        for step in range(5):
            tone = 185 - step * 24 + chance.randint(-8, 8)
            wall = (
                (tone + 30, tone + 10, tone - 4)
                if (step + edge) % 2
                else (tone, tone + 4, tone + 16)
            )
            depth = 0.46 - step * 0.09
            top = 0.34 - step * 0.09 + chance.random() * 0.05
            left, right = (0, depth) if edge == 0 else (1 - depth, 1)
            canvas.box(left, top, right, 0.72, wall, 0.88)
    for _ in range(26):
        x, y = chance.choice((0.01, 0.77)) + chance.random() * 0.2, 0.14 + chance.random() * 0.48
        pane = chance.choice(("#ffe9b0", "#ffd890", "#dbe6f2"))
        canvas.box(x, y, x + 0.025, y + 0.035, pane, 0.75)
    canvas.fade(0.7, 1, "#c9b8a6", "#a7988a", "#857a72")
    canvas.area([(0.44, 0.7), (0.56, 0.7), (0.98, 1), (0.02, 1)], "#7b7a7e", 0.75)
    canvas.area([(0.494, 0.72), (0.506, 0.72), (0.53, 1), (0.47, 1)], "#f1e6cf", 0.5)
    canvas.blur(0.008)
    for _ in range(14):
        canvas.oval(
            chance.random(),
            0.3 + chance.random() * 0.38,
            0.02 + chance.random() * 0.05,
            chance.choice(("#fff1c9", "#ffd9a0", "#ffb98a")),
            0.35,
        )
    canvas.blur(0.003)


def _beach(canvas: _Canvas) -> None:
    chance = canvas.chance
    canvas.fade(
        0,
        0.52,
        *chance.choice([("#5fb2e6", "#a9dcf4", "#e9f6f6"), ("#7d8fd0", "#f2b8a2", "#ffe0b0")]),
    )
    sun = 0.2 + chance.random() * 0.6
    canvas.glow(sun, 0.36, 1.1, "#fff6d8", 0.95)
    for _ in range(4):
        x, y = chance.random(), 0.08 + chance.random() * 0.22
        for puff in range(4):
            canvas.oval(
                x + puff * 0.045, y + chance.random() * 0.012, 0.13, "#ffffff", 0.32, flat=0.4
            )
    canvas.fade(0.52, 0.72, "#3f9fc0", "#5fc0cc", "#a8e2da")
    canvas.glow(sun, 0.55, 0.5, "#ffffff", 0.5, flat=0.3)
    canvas.fade(0.72, 1, "#e8d3a6", "#f0dfb8", "#dcc393")
    for line in range(3):
        y = 0.6 + line * 0.05
        wave = [(step / 12, y + chance.random() * 0.008) for step in range(13)]
        canvas.area([*wave, (1, y + 0.012), (0, y + 0.012)], "#ffffff", 0.35 + line * 0.15)
    canvas.area(
        [
            (0, 0.715),
            (0.3, 0.735),
            (0.65, 0.72),
            (1, 0.74),
            (1, 0.76),
            (0.6, 0.745),
            (0.3, 0.76),
            (0, 0.735),
        ],
        "#ffffff",
        0.85,
    )
    canvas.blur(0.006)


def _park(canvas: _Canvas) -> None:
    chance = canvas.chance
    canvas.fade(0, 0.66, "#bfe3f0", "#e8f4dc", "#f6f3c8")
    canvas.glow(0.3 + chance.random() * 0.4, 0.22, 1.2, "#fffbe0", 0.9)
    greens = ("#5d8f4a", "#7cab57", "#4c7d45", "#93b962", "#6d9b58")
    for depth in (0.0, 0.5, 1.0):
        for _ in range(9):
            x, y = chance.random(), 0.5 - chance.random() * 0.24 * (1 - depth / 2)
            if depth == 1.0 and 0.28 < x < 0.72:  # noqa: PLR2004 - the middle stays open
                continue
            canvas.area(
                [(x - 0.008, y), (x + 0.008, y), (x + 0.014, 0.68), (x - 0.014, 0.68)],
                "#6b5640",
                0.6,
            )
            for _ in range(5):
                canvas.oval(
                    x + chance.uniform(-0.07, 0.07),
                    y + chance.uniform(-0.07, 0.05),
                    0.1 + 0.12 * chance.random(),
                    chance.choice(greens),
                    0.55,
                )
        canvas.blur(0.007 - depth * 0.002)
    canvas.fade(0.64, 1, "#a9c46a", "#86b052", "#5f8f41")
    canvas.area([(0.47, 0.64), (0.55, 0.64), (0.86, 1), (0.16, 1)], "#e3d2ae", 0.9)
    for _ in range(16):
        canvas.oval(chance.random(), 0.7 + chance.random() * 0.3, 0.18, "#fff9c8", 0.16, flat=0.22)
    canvas.blur(0.006)
    for _ in range(12):
        canvas.oval(
            chance.random(), chance.random() * 0.5, 0.03 + chance.random() * 0.06, "#fffde0", 0.22
        )
    canvas.blur(0.002)


def _runway(canvas: _Canvas) -> None:
    chance = canvas.chance
    light = chance.choice(("#ffd9ec", "#cfe3ff", "#fff0cf"))
    canvas.fade(0, 0.66, "#14121f", "#272238", "#3a3350")
    canvas.fade(0.66, 1, "#171522", "#0f0e17")
    canvas.glow(0.5, 0.55, 1.3, light, 0.55)
    for beam in range(5):
        top = 0.1 + beam * 0.2
        foot = 0.5 + (top - 0.5) * 0.35
        canvas.area(
            [(top - 0.012, 0), (top + 0.012, 0), (foot + 0.13, 0.74), (foot - 0.13, 0.74)],
            light,
            0.1,
        )
    for side in (0, 1):
        for row in range(3):
            for seat in range(6):
                x = 0.36 - seat * 0.075 - row * 0.02
                canvas.oval(
                    x if side == 0 else 1 - x,
                    0.67 + seat * 0.035 - row * 0.035,
                    0.05,
                    chance.choice(("#3b3550", "#4a4262", "#2c283c")),
                    0.9,
                )
    canvas.blur(0.008)
    canvas.area([(0.4, 0.66), (0.6, 0.66), (0.94, 1), (0.06, 1)], "#e9e4f2")
    canvas.area([(0.43, 0.66), (0.57, 0.66), (0.82, 1), (0.18, 1)], "#ffffff", 0.55)
    canvas.glow(0.5, 0.86, 0.75, light, 0.5, flat=0.4)
    for beam in range(5):
        canvas.glow(0.1 + beam * 0.2, 0.0, 0.2, "#ffffff", 0.95)
    canvas.blur(0.004)


def _loft(canvas: _Canvas) -> None:
    chance = canvas.chance
    wall, panel = chance.choice(
        [("#cfc7bd", "#f4efe8"), ("#a9b4ab", "#eef3ea"), ("#c79f88", "#fbeee2")]
    )
    canvas.fade(0, 0.72, panel, wall, wall)
    left = chance.choice((0.06, 0.54))
    canvas.box(left, 0.07, left + 0.4, 0.56, "#f9fbfa")
    canvas.glow(left + 0.2, 0.3, 0.7, "#fff7df", 0.9)
    for bar in range(1, 3):
        x, y = left + bar * 0.4 / 3, 0.07 + bar * 0.49 / 3
        canvas.box(x - 0.004, 0.07, x + 0.004, 0.56, "#8d8880")
        canvas.box(left, y - 0.003, left + 0.4, y + 0.003, "#8d8880")
    canvas.fade(0.72, 1, "#b98b5f", "#a4764d", "#8a6040")
    for board in range(-6, 7):
        x = 0.5 + board * 0.09
        foot = 0.5 + (x - 0.5) * 2.2
        joint = [(x, 0.72), (x + 0.003, 0.72), (foot + 0.008, 1), (foot, 1)]
        canvas.area(joint, "#6e4a2e", 0.5)
    sunlit = [(left + 0.08, 0.76), (left + 0.4, 0.76), (left + 0.52, 0.95), (left + 0.02, 0.95)]
    canvas.area(sunlit, "#ffe9c0", 0.35)
    plant = 0.9 if left < 0.5 else 0.1  # noqa: PLR2004 - opposite the window
    for leaf in range(9):
        x, y = plant + chance.uniform(-0.07, 0.07), 0.48 + leaf * 0.018
        green = chance.choice(("#4f7a52", "#6c9463", "#3e6647"))
        canvas.oval(x, y + chance.uniform(-0.05, 0.05), 0.1, green, 0.8, flat=0.6)
    pot = [
        (plant - 0.045, 0.64),
        (plant + 0.045, 0.64),
        (plant + 0.035, 0.76),
        (plant - 0.035, 0.76),
    ]
    canvas.area(pot, "#d8cfc4")
    canvas.blur(0.006)


_SCENES: Final[dict[str, Callable[[_Canvas], None]]] = {
    "studio": _studio,
    "street": _street,
    "beach": _beach,
    "park": _park,
    "runway": _runway,
    "loft": _loft,
}

_FIXED: Final = {"001": "runway", "033": "studio", "034": "street", "035": "beach", "036": "park"}
"""The scenes of the ids in the quick start; any other id gets one by its hash."""


def scene_name(scene_id: str) -> str:
    """Return the name of the scene that is drawn for an id."""
    names = list(_SCENES)
    return _FIXED.get(scene_id) or names[_digest(scene_id)[0] % len(names)]


@lru_cache(maxsize=_CACHED)
def scene(scene_id: str, size: tuple[int, int]) -> Image.Image:
    """Draw a scene; the same id gives the same scene. The picture is cached: do not change it."""
    scale = min(1.0, _SIDE / max(size))
    drawn = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    # For pictures, not for secrets.
    chance = random.Random(_digest(scene_id))  # noqa: S311
    canvas = _Canvas(drawn, chance)
    _SCENES[scene_name(scene_id)](canvas)
    return canvas.picture.resize(size, Image.Resampling.BICUBIC)


def _digest(scene_id: str) -> bytes:
    return hashlib.sha256(scene_id.encode()).digest()
