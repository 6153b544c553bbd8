"""Fabrics and backgrounds. Sizes are shares of the sheet's width unless they are pixels."""

import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

from local.samples.sheet import Fabric, Sheet, Spot


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
                _flower(
                    pen,
                    (x, y),
                    step * sheet.chance.uniform(0.11, 0.18),
                    sheet.chance.choice(petals),
                    leaf,
                    sheet.chance,
                )
        return _grained(cloth, _noise(sheet, (3, 3)), 0.1)

    return fabric


def _flower(
    pen: ImageDraw.ImageDraw,
    middle: Spot,
    size: float,
    petal: str,
    leaf: str,
    chance: random.Random,
) -> None:
    x, y = middle
    lean = chance.choice((-1, 1))
    pen.ellipse(
        (
            x + lean * size * 1.1 - size * 0.9,
            y + size * 0.8,
            x + lean * size * 1.1 + size * 0.9,
            y + size * 1.7,
        ),
        fill=leaf,
    )
    for right, down in ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)):
        px, py = x + right * size, y + down * size
        pen.ellipse(
            (px - size * 0.72, py - size * 0.72, px + size * 0.72, py + size * 0.72), fill=petal
        )
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
    return striped(color, ("#00000000", 0, 0), (darker(color), 0.0, 0.4), pitch=0.012)


def darker(color: str, share: float = 0.78) -> str:
    """Darken a colour."""
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
            pen.rectangle(
                (board * width, 0, (board + 1) * width, sheet.size[1]),
                fill=sheet.chance.choice(tones),
            )
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
