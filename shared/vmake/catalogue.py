"""The known models and scenes of the vendor, and the check of their ids.

The lists come from the vendor's quick start. The vendor has more models and scenes, so an id that
is not listed is allowed. If it nearly matches a listed id or name, it is refused: a typing error
would cost a credit for the wrong images.
"""

import difflib
import re
from collections.abc import Collection
from typing import Final

MODELS: Final = {
    "001": "Antonia",
    "002": "Clara",
    "003": "Jamila",
    "004": "Mia",
    "044": "Lavanya",
}
"""Preset models: id and name (source: the vendor's quick start)."""
MODEL_IDS: Final = {name.casefold(): id_ for id_, name in MODELS.items()}
"""The ids by name, in lower case."""
SCENES: Final = ("033", "034", "035", "036", "001")
"""Preset scenes (source: the vendor's quick start)."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""No known id has other characters (`private-…` is the longest form seen). Result keys contain
ids, so an id must not hold slashes or consist of dots."""
_LABELS: Final = re.compile(r"modelid|sceneid|model|scene|preset|id")
"""Words that people add to an id: `model 002`, `preset-035`."""
_LOOKALIKES: Final = str.maketrans("oil", "011")
_SIMILAR: Final = 0.65
"""A name is misspelt if `difflib`'s ratio is at least this: one wrong letter of three, two of
six."""


class NoSuchIdError(ValueError):
    """The text is no id, or nearly matches a known id or name; the message says why."""

    def __init__(self, reason: str, suggestion: str | None) -> None:
        """Keep the known id that was probably meant, if there is one."""
        super().__init__(reason)
        self.suggestion = suggestion


def model_id(text: str) -> str:
    """Return a model's id, given the id or the name of a known model.

    Raises:
        NoSuchIdError: the text is no id, or nearly matches a known id or name.

    """
    text = text.strip()
    if text in MODELS:
        return text
    return MODEL_IDS.get(text.casefold()) or _checked(text, _near_model(text), "model")


def scene_id(text: str) -> str:
    """Return a preset scene's id.

    Raises:
        NoSuchIdError: the text is no id, or nearly matches a known id.

    """
    text = text.strip()
    return text if text in SCENES else _checked(text, _near_number(text, SCENES), "scene")


def _checked(text: str, near: str | None, kind: str) -> str:
    if near is None and _ID.fullmatch(text):
        return text
    reason = f"which is no {kind} id" + ("" if near is not None else " (letters, digits and . _ -)")
    if near is not None:
        name = f" ({MODELS[near]})" if kind == "model" else ""
        reason += f". Did you mean {near!r}{name}?"
    else:
        reason += "."
    raise NoSuchIdError(reason, near)


def _near_model(text: str) -> str | None:
    letters = "".join(letter for letter in text.casefold() if letter.isalpha())
    if letters in MODEL_IDS:  # a name with digits or marks: `003 Jamila`, `clara.`
        return MODEL_IDS[letters]
    if not any(letter.isdigit() for letter in text):
        close = difflib.get_close_matches(letters, MODEL_IDS, n=1, cutoff=_SIMILAR)
        # A much longer or shorter word is another name: `maria` is not a misspelt `mia`.
        if close and abs(len(close[0]) - len(letters)) <= 1:
            return MODEL_IDS[close[0]]
    return _near_number(text, MODELS)


def _near_number(text: str, ids: Collection[str]) -> str | None:
    """Return the known id of the same number: `35`, `0035`, `O35` and `preset-035` mean `035`."""
    folded = re.sub(r"[^a-z0-9]", "", text.casefold())
    number = _LABELS.sub("", folded).translate(_LOOKALIKES)
    if not number.isdecimal() or not any(letter.isdecimal() for letter in folded):
        return None
    return next((id_ for id_ in ids if id_.lstrip("0") == number.lstrip("0")), None)
