"""What a file name or a table says about each photo: its article and its own settings."""

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from cli.errors import CommandError
from cli.terminal.output import counted
from cli.upload import parsing
from shared.intake.messages import is_photo_key
from shared.intake.photos import mask_key

COLUMNS: Final = (
    *("name", "sku", "model", "scene", "color", "images", "mask", "request-id", "extra"),
)
_DELIMITERS: Final = ",;\t"
_MAX_BYTES: Final = 16 * 2**20
_SIMILAR: Final = 0.6
"""`difflib`'s ratio from which a name counts as misspelt."""
_MOST_MISTAKES: Final = 10
"""Mistakes that are listed; more are counted."""
_SPOILT: Final = re.compile(r"\d([.,]\d+)?E\+\d{2,}|#(N/A|NV|[^\W\d_]+(/0)?[!?])")
"""What a spreadsheet writes in place of a long number, `4.00638E+12`, or of a formula's result."""
_CORRECT: Final = "Nothing was uploaded. Correct the table and run the same command again."


class TableError(CommandError):
    """A table has mistakes; each is a sentence."""

    def __init__(self, file: Path, mistakes: Sequence[str]) -> None:
        """Take the mistakes, at least one; the message is the only one, or their number."""
        one = mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} mistakes."
        super().__init__(f"{file}: {one}", _CORRECT)
        self.mistakes = mistakes if len(mistakes) > 1 else ()

    @property
    def listed(self) -> list[str]:
        """What is said before the message: the first mistakes, if there are several."""
        more = len(self.mistakes) - _MOST_MISTAKES
        rest = [f"… and {more} more."] if more > 0 else []
        return [*self.mistakes[:_MOST_MISTAKES], *rest]


@dataclass(frozen=True)
class SkuPattern:
    """A pattern of file names that says which part is the article: `{sku}_*`."""

    text: str
    _pattern: re.Pattern[str] = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "SkuPattern":
        """Read a pattern.

        Raises:
            CommandError: it does not have `{sku}` once.

        """
        wanted = unicodedata.normalize("NFC", text.strip())
        if wanted.count("{sku}") != 1 or "/" in wanted:
            raise CommandError(
                f"--sku-from {text!r} does not say where the SKU is.",
                "Write {sku} once, and * for any text, as in the file names without their folder:"
                " '{sku}_*'.",
            )
        parts = re.split(r"(\{sku\}|\*)", wanted)
        special = {"{sku}": "(.+?)", "*": ".*"}
        pattern = "".join(special.get(part, re.escape(part)) for part in parts)
        return cls(text, re.compile(pattern, re.DOTALL))

    def sku_of(self, name: str) -> str | None:
        """Return the article of a file; None if its name, with or without extension, has none."""
        name = unicodedata.normalize("NFC", name)
        for each in (PurePosixPath(name).stem, name):
            found = self._pattern.fullmatch(each)
            if found and found[1].strip():
                return found[1].strip()
        return None


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    line: int
    name: str
    cells: Mapping[str, str]
    """The cells that hold something, by column, without `name`."""


@dataclass
class Own:
    """What is said about single photos, by key."""

    values: dict[str, dict[str, str]] = field(default_factory=dict)
    """Settings under their metadata names."""
    masks: dict[str, Path] = field(default_factory=dict)
    """Local masks by the photos' keys."""
    listed: frozenset[str] = frozenset()
    """The photos that have a line in the table."""


def read_table(file: Path) -> list[Row]:
    """Read a table of settings: CSV with a header, separated by commas, semicolons or tabs.

    Raises:
        CommandError: it cannot be read, or its header or a line is wrong.

    """
    text = _text_of(file)
    # A header decides the delimiter: it holds only known words.
    header_line = re.split("[\r\n]", text, maxsplit=1)[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise TableError(file, [f"line {reader.line_num}: {error}."]) from error
    header = _header(file, lines[0][1] if lines else [])
    mistakes: list[str] = []
    rows: dict[str, Row] = {}
    for number, cells in lines[1:]:
        filled = [cell.strip() for cell in cells]
        if not any(filled):
            continue
        if len(filled) > len(header) and any(filled[len(header) :]):
            mistakes.append(f"line {number} has {len(filled)} cells, the header {len(header)}.")
            continue
        pairs = {column: cell for column, cell in zip(header, filled, strict=False) if cell}
        name = unicodedata.normalize("NFC", pairs.pop("name", "")).replace("\\", "/")
        if not name:
            mistakes.append(f"line {number} has no name.")
        elif name in rows:
            mistakes.append(f"{name!r} is in line {rows[name].line} and again in line {number}.")
        else:
            rows[name] = Row(number, name, pairs)
    if mistakes:
        raise TableError(file, mistakes)
    if not rows:
        raise TableError(file, ["it has a header and no line."])
    return list(rows.values())


def own_of_table(
    file: Path,
    rows: Sequence[Row],
    files: Mapping[str, Path],
    base: Mapping[str, str],
    check_mask: Callable[[str], object],
) -> Own:
    """Return what a table says about the photos among these files.

    Args:
        file: the table.
        rows: its lines.
        files: all files to upload, by key.
        base: the settings for all photos, under their metadata names.
        check_mask: raises CommandError for a mask that is no key and no address.

    Raises:
        CommandError: a line names no photo, or a value cannot be used.

    """
    own, mistakes = Own(), list[str]()
    keys = _Keys(files)
    seen: dict[str, Row] = {}
    for row in rows:
        try:
            key = keys.of(row.name)
            if key in seen:
                other = seen[key]
                raise CommandError(  # noqa: TRY301  as `keys.of` raises it
                    f"{row.name!r} and {other.name!r} of line {other.line} are the same photo.", ""
                )
            seen[key] = row
            own.values[key] = _values_of(row, base)
            mask = row.cells.get("mask")
            if mask is not None:
                _take_mask(own, key, mask, file.parent, files, check_mask)
        except CommandError as error:
            advice = f" {error.next_step}" if error.next_step else ""
            mistakes.append(f"line {row.line}: {str(error).removeprefix('--')}{advice}")
    mistakes += _shared_masks(own, files, seen, base)
    if mistakes:
        raise TableError(file, mistakes)
    own.listed = frozenset(seen)
    return own


def _take_mask(
    own: Own,
    key: str,
    mask: str,
    folder: Path,
    files: Mapping[str, Path],
    check: Callable[[str], object],
) -> None:
    local = folder / mask
    if "://" in mask or not local.is_file():
        check(mask)
        own.values[key]["mask"] = mask
        return
    beside = files.get(mask_key(key))
    if beside is not None and not beside.samefile(local):
        raise CommandError(f"The photo has another mask beside it, {beside}.", "Leave one out.")
    own.masks[key] = local
    # The name of another mask in the metadata would count more than the mask beside the photo.
    own.values[key].pop("mask", None)


def _shared_masks(
    own: Own, files: Mapping[str, Path], rows: Mapping[str, Row], base: Mapping[str, str]
) -> Iterator[str]:
    """Yield, as mistakes, the masks of lines that other photos would get too.

    `a.jpg` and `a.png` have the same mask beside them.
    """
    beside: dict[str, list[str]] = {}
    for key in filter(is_photo_key, files):
        if "mask" not in own.values.get(key, base):
            beside.setdefault(mask_key(key), []).append(key)
    for mask, keys in beside.items():
        theirs = [own.masks.get(key) for key in keys]
        first = next(filter(None, theirs), None)
        if first is None or all(each is not None and each.samefile(first) for each in theirs):
            continue
        line = max(rows[key].line for key in keys if key in own.masks)
        photos = " and ".join(map(repr, keys))
        yield (
            f"line {line}: {photos} share the mask {mask} beside them. Rename one, or drop them"
            " into two folders."
        )


def _values_of(row: Row, base: Mapping[str, str]) -> dict[str, str]:
    cells = row.cells
    for column, cell in cells.items():
        if _SPOILT.fullmatch(cell):
            raise CommandError(
                f"{column} is {cell!r}, which a spreadsheet writes in place of the value.",
                "Format the column as text there, enter the value and save again.",
            )
    images = cells.get("images")
    if images is not None and not re.fullmatch(f"[1-{parsing.MAX_IMAGES}]", images):
        raise CommandError(
            f"images is {images!r}.", f"Give a number from 1 to {parsing.MAX_IMAGES}."
        )
    scene, color = cells.get("scene"), cells.get("color")
    if color is not None:
        if scene is not None and scene.casefold() != "color":
            raise CommandError(f"It has the background {scene!r} and a color.", "Leave one out.")
        scene = f"color:{color}"
    values = parsing.values(
        model=cells.get("model"),
        scene=scene,
        images=int(images) if images is not None else None,
        sku=cells.get("sku"),
        request_id=cells.get("request-id"),
        extra=cells.get("extra"),
    )
    return parsing.over(base, values)


class _Keys:
    """Finds photos by what a table calls them: the key, the end of its path, or the name."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._by_end: dict[str, list[str]] = {}
        for key in filter(is_photo_key, files):
            parts = unicodedata.normalize("NFC", key).split("/")
            for begin in range(len(parts)):
                self._by_end.setdefault("/".join(parts[begin:]), []).append(key)

    def of(self, name: str) -> str:
        """Return the key of the photo with this name.

        Raises:
            CommandError: there is none, or more than one.

        """
        found = self._by_end.get(name.removeprefix("./").strip("/"), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandError(
                f"{len(found)} photos are named {name!r}.",
                f"Write more of the path: {found[0]}.",
            )
        close = difflib.get_close_matches(name, self._by_end, n=1, cutoff=_SIMILAR)
        meant = f"Did you mean {close[0]!r}?" if close else "Write the name with its extension."
        raise CommandError(f"There is no photo {name!r} among those to drop.", meant)


def _text_of(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandError(
            f"--table {str(file)!r} cannot be read: {error.strerror or error}.",
            "Nothing was uploaded. Check the name.",
        ) from error
    if len(data) > _MAX_BYTES or b"\0" in data:
        raise CommandError(
            f"--table {str(file)!r} is not a table of text.", "Save it as CSV (UTF-8)."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"--table {str(file)!r} is not UTF-8: {error}.", "Save it as CSV (UTF-8)."
        ) from error


def _header(file: Path, cells: Sequence[str]) -> list[str]:
    header = [re.sub(r"[\s_]+", "-", cell.strip().casefold()) for cell in cells]
    while header and not header[-1]:
        header.pop()
    mistakes = []
    for column in header:
        if column in COLUMNS:
            continue
        close = difflib.get_close_matches(column, COLUMNS, n=1, cutoff=_SIMILAR)
        meant = f"did you mean {close[0]!r}? The columns are" if close else "the columns are"
        mistakes.append(f"there is no column {column!r}; {meant} {', '.join(COLUMNS)}.")
    double = [column for column in COLUMNS if header.count(column) > 1]
    mistakes += [
        f"the column {column!r} is there {header.count(column)} times." for column in double
    ]
    if "name" not in header and not mistakes:
        mistakes.append(
            f"it has no column 'name'; the first line names the columns: {', '.join(COLUMNS)}."
        )
    if mistakes:
        raise TableError(file, mistakes)
    return header


def without_sku(keys: Sequence[str], pattern: SkuPattern) -> str:
    """Return which photos get no article, as a sentence."""
    names = [key.rpartition("/")[2] for key in keys]
    listed = ", ".join(names[:_MOST_MISTAKES])
    more = f" and {len(names) - _MOST_MISTAKES} more" if len(names) > _MOST_MISTAKES else ""
    match = "does" if len(names) == 1 else "do"
    return (
        f"{counted(len(names), 'photo')} {match} not match {pattern.text!r} and would get no SKU:"
        f" {listed}{more}."
    )
