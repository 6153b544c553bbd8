"""Draws the sample photos: flat-lay apparel, the same pixels at every run.

`python -m local.samples.draw` writes them beside this file; with `--portrait FILE` it also crops
the portrait from the original picture (see README.md).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont

from local.samples.fabrics import (
    concrete,
    darker,
    denim,
    floral,
    knit,
    leather,
    linen,
    paper,
    plaid,
    ribbed,
    solid,
    striped,
    wood,
)
from local.samples.sheet import SIZE, Sheet, curve, folds_from, mirrored, outline

FOLDER: Final = Path(__file__).parent

_PORTRAIT_BOX: Final = (34, 0, 364, 440)
"""What is kept of the portrait, in its pixels."""

_KEPT_OF_BROKEN: Final = 6000
"""The bytes after which broken.jpg ends."""


def dress() -> Sheet:
    """Draw a summer dress on linen."""
    sheet = Sheet(linen("#e9e1d4"), 1, (1.12, 0.98))
    cloth = floral("#27476e", ("#f3b8b0", "#f7e3d4", "#e58f8a"), "#6f9a86")
    back = mirrored(outline("~ 0,.13 .09,.115 .1,.2 0,.26"))
    sheet.piece(back, solid("#1c3350"), lift=0.5)
    skirt = mirrored(
        outline(
            "0,.43 .118,.43; ~ .118,.43 .2,.62 .335,.87; ~ .335,.87 "
            ".27,.915 .2,.9 .13,.93 .06,.912 0,.935"
        )
    )
    folds = [
        ([(0.3 * lean, 0.45), (0.62 * lean, 0.66), (lean, 0.9)], 0.3)
        for lean in (-0.27, -0.2, -0.12, -0.05, 0.03, 0.11, 0.19, 0.26)
    ]
    sheet.piece(skirt, cloth, folds=folds)
    bodice = mirrored(
        outline(
            "~ 0,.225 .06,.195 .078,.1; .108,.098; ~ .108,.098 .112,.19 "
            ".155,.255; ~ .155,.255 .138,.34 .12,.435; 0,.44"
        )
    )
    sheet.piece(
        bodice,
        cloth,
        lift=0.6,
        folds=folds_from(".22: -.1,.3 -.05,.36 -.045,.43; .22: .1,.29 .06,.36 .05,.43"),
    )
    sheet.piece(mirrored(outline("0,.425 .124,.422 .122,.452 0,.456")), solid("#e58f8a"), lift=0.4)
    sheet.piece(
        outline("~ .03,.445 .09,.5 .075,.6 .055,.6 .06,.51 .02,.455"), solid("#d97f7c"), lift=0.5
    )
    sheet.piece(
        outline("~ .02,.445 .03,.52 0,.61 -.018,.6 .008,.52 0,.45"), solid("#e58f8a"), lift=0.5
    )
    sheet.dot((0.018, 0.44), 0.03, "#e58f8a")
    sheet.seam(
        outline(
            "~ -.33,.862 -.26,.9 -.2,.887 -.13,.916 -.06,.9 0,.921 .06,.9 "
            ".13,.916 .2,.887 .26,.9 .33,.862"
        ),
        "#c9d3df",
    )
    return sheet


def shirt() -> Sheet:
    """Draw a striped shirt on boards."""
    sheet = Sheet(wood("#b98a5e", "#c49669", "#ad7d52", "#b58259"), 2, (1.16, 0.88))
    cloth = striped("#f4f6fa", ("#6d93c7", 0.0, 0.34), ("#cfdcee", 0.62, 0.7), pitch=0.028)
    sleeve = outline("~ .2,.17 .3,.235 .405,.405; .315,.47; ~ .315,.47 .25,.4 .19,.37")
    wrinkle = folds_from(".2: .22,.22 .27,.3 .33,.42; .14: .3,.26 .34,.33 .37,.42")
    for _ in sheet.sides():
        sheet.piece(sleeve, cloth, folds=wrinkle)
        sheet.seam(outline(".393,.394 .308,.457"), "#54719c")
    sheet.piece(mirrored(outline("~ 0,.105 .07,.11 .085,.16 0,.235")), solid("#c3cfdf"), lift=0.4)
    body = mirrored(
        outline(
            "~ 0,.232 .05,.18 .085,.125; ~ .085,.125 .16,.148 .225,.182; ~ "
            ".225,.182 .208,.28 .215,.385; ~ .215,.385 .205,.6 .218,.83; ~ "
            ".218,.83 .17,.885 .09,.905 0,.905"
        )
    )
    sheet.piece(
        body,
        cloth,
        folds=folds_from(
            ".16: -.19,.4 -.13,.5 -.12,.62; .16: .18,.42 .12,.54 .13,.7; "
            ".13: -.15,.68 -.1,.76 -.11,.87; .12: .06,.62 .075,.74 .06,.87"
        ),
    )
    sheet.piece(outline("-.021,.22 .021,.22 .023,.904 -.019,.904"), cloth, lift=0.35)
    for number in range(6):
        sheet.dot((0.001, 0.285 + number * 0.108), 0.0135, "#fbfaf4", rim="#b9b4a8")
    pocket = outline(".075,.36 .175,.355 .177,.455 .128,.478 .078,.46")
    sheet.piece(pocket, cloth, lift=0.3)
    sheet.seam(outline(".079,.373 .172,.368"), "#54719c")
    collar = outline("~ 0,.232 .035,.19 .08,.112; .092,.128 .115,.215 .06,.262")
    for _ in sheet.sides():
        sheet.piece(collar, cloth, lift=0.6)
        sheet.seam(outline(".106,.212 .06,.251 .01,.229"), "#54719c")
    return sheet


def hoodie() -> Sheet:
    """Draw a hoodie on concrete."""
    sheet = Sheet(concrete("#b9bcc0"), 3, (1.16, 0.9))
    color = "#d79a2b"
    cloth, rib = solid(color, 0.2), ribbed("#c98f27")
    hood_back = mirrored(outline("~ 0,.05 .09,.065 .135,.13 .12,.2 0,.26"))
    sheet.piece(hood_back, solid(darker(color, 0.8)), lift=0.7)
    sleeve = outline("~ .19,.2 .28,.27 .34,.45 .385,.68; .3,.705; ~ .3,.705 .25,.55 .2,.43")
    cuff = outline(".385,.672 .378,.745 .312,.76 .3,.697")
    creases = folds_from(
        ".24: .22,.3 .27,.42 .29,.56; .2: .33,.44 .3,.5 .27,.53; .2: .36,.6 .34,.64 .31,.66"
    )
    for _ in sheet.sides():
        sheet.piece(cuff, rib)
        sheet.piece(sleeve, cloth, folds=creases)
    hem = mirrored(outline("0,.84 .205,.835 .195,.905 0,.915"))
    sheet.piece(hem, rib)
    body = mirrored(
        outline(
            "~ 0,.25 .06,.225 .1,.165; ~ .1,.165 .16,.185 .225,.225; ~ "
            ".225,.225 .215,.34 .225,.44; ~ .225,.44 .215,.64 .22,.845; "
            "0,.855"
        )
    )
    sheet.piece(
        body,
        cloth,
        folds=folds_from(
            ".22: -.2,.42 -.13,.48 -.08,.49; .22: .2,.43 .14,.5 .07,.52; "
            ".2: -.17,.74 -.15,.79 -.16,.84; .2: .16,.72 .15,.78 .17,.84"
        ),
    )
    pocket = mirrored(outline("0,.6 .1,.598; ~ .1,.598 .135,.66 .17,.7; .172,.83 0,.838"))
    sheet.piece(pocket, cloth, lift=0.5, folds=folds_from(".16: -.04,.63 0,.7 .02,.8"))
    for _ in sheet.sides():
        sheet.seam(outline("~ .095,.606 .128,.665 .162,.705"), "#8a5f12")
    sheet.seam(outline("-.17,.844 .17,.844"), "#8a5f12")
    lip = outline("~ 0,.285 .07,.25 .125,.155 .105,.085; ~ .105,.085 .085,.15 .045,.205 0,.235")
    for _ in sheet.sides():
        sheet.piece(lip, cloth, lift=0.6, folds=folds_from(".18: .03,.25 .07,.205 .1,.14"))
        cord = outline("~ .04,.257 .055,.34 .045,.445")
        sheet.line([(x + 0.003, y + 0.004) for x, y in cord], "#7d5816", 0.006)
        sheet.line(cord, "#f5efe2", 0.006)
        sheet.line(outline(".045,.445 .045,.465"), "#6f757c", 0.007)
        sheet.dot((0.04, 0.257), 0.011, "#d9dde0", rim="#7b8086")
    return sheet


def trousers() -> Sheet:
    """Draw jeans on a pale floor."""
    sheet = Sheet(wood("#e6ddcf", "#ded3c3", "#ebe3d7", "#d9cdbc"), 4, (1.2, 0.98))
    cloth, thread = denim("#33557f"), "#d99a4a"
    leg = outline(
        "0,.1 .17,.1; ~ .17,.1 .2,.24 .215,.5 .225,.93; .09,.938; ~ "
        ".09,.938 .07,.62 .012,.34; 0,.33"
    )
    creases = folds_from(
        ".26: .03,.32 .09,.345 .15,.35; .22: .03,.35 .08,.39 .13,.405; "
        ".2: .1,.56 .14,.575 .2,.565; .2: .09,.6 .14,.615 .19,.61; .13: "
        ".14,.4 .15,.6 .155,.9; .16: .11,.85 .16,.87 .21,.86"
    )
    for _ in sheet.sides():
        sheet.piece(leg, cloth, folds=creases)
        sheet.seam(outline(".094,.917 .221,.909"), thread)
        sheet.seam(outline("~ .163,.105 .192,.24 .2,.36"), thread)
        pocket = outline("~ .08,.1 .09,.15 .13,.185 .19,.195")
        sheet.line(pocket, "#1f3658", 0.004)
        for shift in (0.006, 0.012):
            sheet.seam([(x, y + shift) for x, y in pocket], thread)
    sheet.line(outline("~ 0,.1 .002,.22 0,.33"), "#1f3658", 0.004)
    for shift in (0.0, 0.01):
        sheet.seam(
            curve(
                [
                    (0.05 - shift, 0.1),
                    (0.047 - shift, 0.2),
                    (0.03 - shift / 2, 0.262),
                    (0.0, 0.285 - shift),
                ]
            ),
            thread,
        )
    band = mirrored(outline("0,.058; ~ 0,.058 .09,.054 .172,.05; .175,.105 0,.113"))
    sheet.piece(band, cloth, lift=0.4)
    for edge in (0.065, 0.104):
        sheet.seam([(-0.168, edge - 0.006), (0.0, edge), (0.168, edge - 0.006)], thread)
    for x in (-0.13, -0.055, 0.065, 0.13):
        sheet.piece(
            [(x - 0.009, 0.045), (x + 0.009, 0.045), (x + 0.009, 0.117), (x - 0.009, 0.117)],
            cloth,
            lift=0.3,
        )
    sheet.dot((0.012, 0.085), 0.02, "#c9a15c", rim="#8a6a33")
    return sheet


def skirt() -> Sheet:
    """Draw a pleated skirt on pink paper."""
    sheet = Sheet(paper("#f0c9c4"), 5)
    cloth = plaid(
        "#7d2233",
        ("#1f3b4d", 0.08, 0.36),
        ("#e8d9b8", 0.5, 0.535),
        ("#2f6b58", 0.62, 0.84),
        pitch=0.115,
    )
    pleats = 9
    top, bottom = 0.265, 0.80
    for number in range(pleats):
        left, right = -0.5 + number / pleats, -0.5 + (number + 1) / pleats
        sag = 0.05 * (1 - (left + right) ** 2)
        pleat = [
            (left * 0.4, top),
            (right * 0.4 + 0.006, top),
            (right * 0.82 + 0.012, bottom + sag * (1 - right**2)),
            (left * 0.82 + 0.004, bottom + sag * (1 - left**2) + 0.006),
        ]
        middle = (left + right) / 2
        crease = [
            (middle * 0.4 + 0.012, top),
            (middle * 0.62 + 0.02, 0.55),
            (middle * 0.82 + 0.03, bottom),
        ]
        sheet.piece(pleat, cloth, lift=0.5, folds=[(crease, 0.16)])
    band = mirrored(outline("0,.205; ~ 0,.205 .1,.202 .2,.196; .206,.272 0,.284"))
    sheet.piece(band, solid("#6a1c2b"), lift=0.5)
    for edge in (0.213, 0.272):
        sheet.seam([(-0.2, edge - 0.006), (0.0, edge), (0.2, edge - 0.006)], "#c98a8f")
    for x in (0.125, 0.165):
        sheet.dot((x, 0.238), 0.02, "#d8b878", rim="#8d6e3a")
    return sheet


def jacket() -> Sheet:
    """Draw a leather jacket on terracotta paper."""
    sheet = Sheet(paper("#d9a283"), 6, (1.16, 0.95))
    hide, metal = leather("#2a2529"), "#cfd2d6"
    sleeve = outline("~ .19,.16 .285,.24 .345,.45 .39,.75; .305,.775; ~ .305,.775 .26,.58 .2,.42")
    creases = folds_from(
        ".3: .23,.28 .28,.42 .3,.58; .26: .335,.46 .3,.5 .26,.51; .22: "
        ".35,.53 .31,.56 .28,.56; .2: .37,.68 .34,.71 .31,.71"
    )
    for _ in sheet.sides():
        sheet.piece(sleeve, hide, folds=creases)
        sheet.seam(outline(".31,.735 .386,.712"), "#5a5258")
        sheet.line(outline(".345,.765 .337,.68"), metal, 0.003)
    sheet.piece(
        mirrored(outline("~ 0,.12 .08,.115 .1,.18 .09,.5 .06,.78 0,.79")),
        striped("#7a2e35", ("#8f3a40", 0.0, 0.5), pitch=0.03),
        lift=0.4,
    )
    front = outline(
        "~ .085,.125 .15,.14 .215,.17; ~ .215,.17 .205,.3 .218,.42; ~ "
        ".218,.42 .205,.6 .2,.8; .045,.825; ~ .045,.825 .045,.55 "
        ".055,.33 .05,.2"
    )
    dents = folds_from(
        ".26: .2,.42 .14,.47 .09,.46; .22: .19,.63 .15,.7 .15,.79; .16: .16,.2 .15,.28 .17,.36"
    )
    for _ in sheet.sides():
        sheet.piece(front, hide, folds=dents)
        zipper = outline("~ .045,.82 .045,.55 .055,.35 .056,.3")
        sheet.line(zipper, "#141113", 0.009)
        sheet.line(zipper, metal, 0.005, dash=0.0045)
        sheet.line(outline(".09,.6 .165,.53"), "#0f0c0e", 0.008)
        sheet.line(outline(".09,.6 .165,.53"), metal, 0.004, dash=0.0045)
        sheet.seam(outline(".05,.765 .2,.742"), "#5a5258")
        sheet.dot((0.09, 0.6), 0.012, metal, rim="#83868b")
        lapel = outline(
            "~ .03,.185 .06,.13 .085,.105; .125,.135 .15,.24 .115,.255 "
            ".125,.305; ~ .125,.305 .07,.36 .048,.45; ~ .048,.45 .05,.3 "
            ".03,.185"
        )
        sheet.piece(
            lapel,
            hide,
            lift=0.7,
            folds=folds_from(".18: .06,.2 .08,.27 .07,.34"),
        )
        for spot in ((0.133, 0.228), (0.113, 0.296)):
            sheet.dot(spot, 0.011, metal, rim="#83868b")
    belt = outline(".045,.783 .203,.76 .203,.808 .045,.834")
    for _ in sheet.sides():
        sheet.piece(belt, hide, lift=0.5)
        sheet.seam(outline(".055,.79 .195,.77"), "#5a5258")
    sheet.dot((0.075, 0.805), 0.02, metal, rim="#83868b")
    return sheet


def tshirt() -> Sheet:
    """Draw a printed T-shirt on mint paper."""
    sheet = Sheet(paper("#bfdccf"), 7, (1.1, 0.9))
    cloth = solid("#fbf8f2", 0.12)
    sleeve = outline("~ .2,.165 .31,.23 .42,.385; .325,.45; ~ .325,.45 .26,.385 .2,.36")
    for _ in sheet.sides():
        sheet.piece(sleeve, cloth, folds=folds_from(".15: .24,.23 .28,.31 .34,.41"))
        sheet.seam(outline(".318,.437 .407,.376"), "#cfc6b8")
    sheet.piece(
        mirrored(outline("~ 0,.122 .075,.118 .08,.16 0,.2")),
        solid("#d9d3c6"),
        lift=0.3,
    )
    body = mirrored(
        outline(
            "~ 0,.2 .06,.178 .095,.122; ~ .095,.122 .16,.142 .23,.178; ~ "
            ".23,.178 .215,.28 .222,.38; ~ .222,.38 .212,.6 .22,.87; ~ "
            ".22,.87 .1,.885 0,.887"
        )
    )
    sheet.piece(
        body,
        cloth,
        folds=folds_from(
            ".14: -.2,.38 -.15,.44 -.14,.56; .14: .19,.39 .15,.46 .15,.6; "
            ".12: -.12,.66 -.08,.75 -.1,.87; .12: .1,.64 .08,.76 .11,.87; "
            ".1: 0,.7 .015,.79 0,.88"
        ),
    )
    _print(sheet)
    rib = outline(
        "~ -.095,.122 -.06,.178 0,.2 .06,.178 .095,.122; ~ .113,.127 "
        ".073,.192 0,.219 -.073,.192 -.113,.127"
    )
    sheet.piece(rib, cloth, lift=0.25)
    sheet.seam(outline("-.217,.856 0,.872 .217,.856"), "#cfc6b8")
    return sheet


def _print(sheet: Sheet) -> None:
    """Print a sunset behind hills on the chest, and a word below."""
    disc = sheet.disc((0.0, 0.41), 0.25)
    sheet.tone(disc, "#f4a259", 0.95)
    sun = sheet.disc((0.02, 0.375), 0.11)
    sheet.tone(sun, "#fbe3b0", 0.95)
    for color, spots in (
        (
            "#d1603d",
            outline("-.2,.43 -.1,.405 -.03,.435 .06,.41 .2,.44 .2,.6 -.2,.6"),
        ),
        (
            "#8f3b46",
            outline("-.2,.47 -.06,.44 .03,.47 .1,.45 .2,.47 .2,.6 -.2,.6"),
        ),
        (
            "#3d2c45",
            outline("-.2,.485 -.08,.488 .02,.475 .2,.5 .2,.6 -.2,.6"),
        ),
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
    sleeve = outline("~ .19,.2 .285,.28 .34,.48 .375,.7; .285,.725; ~ .285,.725 .25,.57 .2,.44")
    cuff = outline(".374,.692 .366,.775 .3,.79 .286,.717")
    creases = folds_from(".2: .23,.3 .27,.43 .28,.6; .18: .33,.48 .29,.52 .26,.53")
    for _ in sheet.sides():
        sheet.piece(cuff, rib)
        sheet.piece(sleeve, cloth, folds=creases)
    sheet.piece(mirrored(outline("0,.83 .215,.825 .205,.9 0,.91")), rib)
    body = mirrored(
        outline(
            "~ 0,.225 .05,.215 .09,.165; ~ .09,.165 .16,.185 .228,.225; ~ "
            ".228,.225 .216,.34 .23,.45; ~ .23,.45 .222,.64 .228,.84; 0,.85"
        )
    )
    sheet.piece(
        body,
        cloth,
        folds=folds_from(
            ".18: -.2,.44 -.15,.5 -.13,.6; .18: .2,.45 .15,.52 .14,.64; "
            ".14: -.06,.74 -.03,.79 -.05,.84; .14: .09,.72 .07,.78 .1,.84"
        ),
    )
    for x in (-0.1, 0.0, 0.1):
        _cable(sheet, x)
    collar = mirrored(
        outline(
            "0,.1; ~ 0,.1 .07,.097 .083,.112; ~ .083,.112 .09,.16 .104,.19; "
            "~ .104,.19 .06,.225 0,.235"
        )
    )
    sheet.piece(collar, rib, lift=0.6)
    sheet.piece(
        mirrored(outline("~ 0,.104 .06,.103 .07,.113 .04,.122 0,.124")), solid("#a3988a"), lift=0.15
    )
    return sheet


def _cable(sheet: Sheet, x: float) -> None:
    """Twist two strands down the front of a sweater."""
    swings = 9
    for phase in (1, -1):
        spots = [
            (x + phase * 0.016 * (1 if step % 2 else -1), 0.27 + step * 0.062)
            for step in range(swings + 1)
        ]
        strand = curve(spots)
        for shift, color, width in (
            (0.004, "#b3a796", 0.011),
            (0.0, "#d3c7b7", 0.011),
            (-0.0025, "#f3ece2", 0.006),
        ):
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
