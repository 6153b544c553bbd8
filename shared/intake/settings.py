"""The settings of a photo: where each value comes from, and whether it may be used.

First found wins, value by value: the request itself (the object's user metadata, or the
variant of an event), then the nearest `catwalk.json`, then the stack's defaults. A `Layer` is
one such source, its values under the vendor's own field names.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import Any, Final

from shared.config import SubmitConfig
from shared.errors import InputRejected
from shared.models import ErrorCode, SceneType, Settings
from shared.vmake import catalogue

FOLDER_FILE: Final = "catwalk.json"
MAX_VARIANTS: Final = 20
"""More variants than this in one request are taken for a mistake: each costs a credit."""
MAX_EXTRA_BYTES: Final = 16_384
MAX_DEPTH: Final = 20
"""Deeper JSON does not fit into a record, since DynamoDB takes 32 levels."""
MAX_ID: Final = 256
"""Characters of a `sku` or `requestId`. A key of an index holds at most 2,048 bytes."""
_MAX_METADATA: Final = 2048
"""S3 takes no more bytes of user metadata, and an index's key no more either; an encoded word can
say more than it has bytes."""
_MAX_NAME: Final = 128
"""Bytes of a model or scene id. Both are part of result keys, which have at most 1,024 bytes."""
_MAX_SHOWN: Final = 200
"""Characters of a value that a message repeats; a message has at most `MAX_MESSAGE`."""
_MAX_INTEGER: Final = 10**38
_SMALLEST, _LARGEST = 1e-125, 1e125

FIELDS: Final = ("modelId", "sceneType", "sceneId", "color", "batchSize", "extra")
"""The vendor's field names that a variant may set (source: the vendor's reference)."""
METADATA_FIELDS: Final = {
    "model-id": "modelId",
    "scene-type": "sceneType",
    "scene-id": "sceneId",
    "color": "color",
    "batch-size": "batchSize",
    "extra": "extra",
}
"""S3 user metadata names, without `x-amz-meta-`, and the fields they set."""
_METADATA_IDS: Final = ("sku", "request-id")
_METADATA_NAMES: Final = (*METADATA_FIELDS, *_METADATA_IDS, "mask")
_FOLDER_FIELDS: Final = (*FIELDS, "sku", "variants")
_RESERVED: Final = (*FIELDS, "image", "mask")
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_IDS: Final[Mapping[str, Callable[[str], str]]] = {
    "modelId": catalogue.model_id,
    "sceneId": catalogue.scene_id,
}
"""Fields that hold an id of the vendor's, and the function that checks each."""


@dataclass(frozen=True)
class Layer:
    """Values from one source, and the source's name in messages."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class FolderFile:
    """A `catwalk.json`: values for every photo below its folder, and the variants to make."""

    base: Layer
    variants: tuple[Layer, ...]
    sku: str | None = None


def bad_settings(message: str) -> InputRejected:
    """Return the error for settings that cannot be used."""
    return InputRejected(ErrorCode.BAD_SETTINGS, message)


def metadata_text(value: str) -> str:
    """Decode one value of S3 user metadata; S3 returns non-ASCII text as RFC 2047 words."""
    if not value.startswith("=?"):
        return value
    try:
        text = str(make_header(decode_header(value)))
    except (MessageError, LookupError, ValueError):
        return value
    return value if odd_json(text) or len(text.encode()) > _MAX_METADATA else text


def metadata_value(metadata: Mapping[str, str], name: str) -> str | None:
    """Return a decoded value of an object's user metadata; None if it is missing or empty."""
    return metadata_text(metadata.get(name, "")).strip() or None


def metadata_layer(metadata: Mapping[str, str]) -> Layer:
    """Read the settings in an object's user metadata; unknown names are ignored.

    Another spelling of a known name (`model_id`, `modelid`) is refused: it is a mistake that would
    cost a credit for the wrong images.

    Raises:
        InputRejected: a name is misspelt, `batch-size` is no whole number, `extra` is no JSON, or
            `sku` or `request-id` is too long.

    """
    values: dict[str, Any] = {}
    for name, raw in metadata.items():
        field = METADATA_FIELDS.get(name.lower())
        text = metadata_text(raw).strip()
        if name.lower() in _METADATA_IDS and len(text) > MAX_ID:
            raise bad_settings(
                f"The photo's metadata {name} has {len(text)} characters; at most {MAX_ID} are"
                " allowed."
            )
        if field is None:
            meant = _meant(name, _METADATA_NAMES)
            if meant not in {None, name.lower()}:
                raise bad_settings(
                    f"The photo's metadata has the unknown name {shown(name)}. Did you mean"
                    f" {meant!r}?"
                )
            continue
        if field == "batchSize":
            if not re.fullmatch(r"[0-9]{1,3}", text):
                raise bad_settings(
                    f"The photo's metadata batch-size is {shown(text)}; it must be a whole number,"
                    " 1 to 4."
                )
            values[field] = int(text)
        elif field == "extra":
            values[field] = _json(text, "The photo's metadata extra")
        else:
            values[field] = text
    return Layer("the photo's metadata", values)


def check_mask_key(mask_key: str, photo_key: str) -> None:
    """Check that a mask named in a photo's metadata is in the photo's folder or below.

    Otherwise a person who may write into one folder could send an object of another folder to the
    vendor.

    Raises:
        InputRejected: `mask_mismatch`.

    """
    folder = photo_key[: photo_key.rfind("/") + 1]
    # A client that normalises a URL would resolve `..` to another folder.
    if not mask_key.startswith(folder) or {".", ".."} & set(mask_key.split("/")):
        raise InputRejected(
            ErrorCode.MASK_MISMATCH,
            f"The photo's metadata names the mask {shown(mask_key)}, which is not in the photo's"
            f" own folder {shown(folder)} or below it. Copy the mask there.",
        )


def folder_file(text: str, key: str) -> FolderFile:
    """Parse the text of the `catwalk.json` with the key `key`.

    Raises:
        InputRejected: it is no JSON object, has an unknown name, or its variants cannot be used.

    """
    origin = short(key)
    document = _json(text, origin)
    if not isinstance(document, dict):
        raise bad_settings(f"{origin} must hold a JSON object, not {kind(document)}.")
    _known_names(document, _FOLDER_FIELDS, origin)
    sku = document.get("sku")
    if sku is not None and not isinstance(sku, str):
        raise bad_settings(f"{origin}: sku must be a string, not {kind(sku)}.")
    if sku is not None and len(sku) > MAX_ID:
        raise bad_settings(
            f"{origin}: sku has {len(sku)} characters; at most {MAX_ID} are allowed."
        )
    base = {name: value for name, value in document.items() if name in FIELDS}
    return FolderFile(
        base=Layer(origin, base),
        variants=variant_layers(document["variants"], f"{origin}: variants")
        if "variants" in document
        else (),
        sku=sku or None,
    )


def variant_layers(value: object, origin: str) -> tuple[Layer, ...]:
    """Read a list of variants.

    Raises:
        InputRejected: it is not a list of 1 to 20 objects with known names.

    """
    if not isinstance(value, list):
        raise bad_settings(f"{origin} must be a list, not {kind(value)}.")
    if not 1 <= len(value) <= MAX_VARIANTS:
        raise bad_settings(
            f"{origin} has {len(value)} entries; 1 to {MAX_VARIANTS} are allowed, since each"
            " costs a credit."
        )
    layers = []
    for number, variant in enumerate(value, start=1):
        name = f"{origin} entry {number}"
        if not isinstance(variant, dict):
            raise bad_settings(f"{name} must be an object, not {kind(variant)}.")
        _known_names(variant, FIELDS, name)
        layers.append(Layer(name, variant))
    return tuple(layers)


def drop_layers(
    own: Layer, folder: FolderFile | None, defaults: Layer
) -> list[tuple[Layer, Layer, Layer, Layer]]:
    """Return the layers of each variant of a dropped photo, each with the first one strongest.

    Args:
        own: the photo's metadata.
        folder: the nearest `catwalk.json`; None if there is none.
        defaults: the stack's defaults.

    """
    base = folder.base if folder else Layer("no folder file", {})
    variants = folder.variants if folder and folder.variants else (Layer("none", {}),)
    return [(own, variant, base, defaults) for variant in variants]


def default_layer(config: SubmitConfig) -> Layer:
    """Return the stack's defaults."""
    values: dict[str, Any] = {
        "modelId": config.default_model_id,
        "sceneType": config.default_scene_type.value,
        "batchSize": config.default_batch_size,
    }
    if config.default_scene_id:
        values["sceneId"] = config.default_scene_id
    return Layer("the stack's defaults", values)


def resolve(layers: Sequence[Layer], *, mask: str | None = None) -> Settings:
    """Combine the layers and check the settings. For each value the first layer that has it counts.

    A scene id or colour from a weaker layer is ignored if a stronger layer chose a scene type that
    does not use it. From the same or a stronger layer it is a contradiction, except in the stack's
    defaults (the last layer).

    Raises:
        InputRejected: a value is missing, of the wrong type, out of range or contradictory.

    """
    values: dict[str, tuple[int, str, Any]] = {}
    for strength, layer in enumerate(layers):
        for name, value in layer.values.items():
            if value is not None:
                values.setdefault(name, (strength, layer.origin, value))

    model_id = _text(values, "modelId")
    if model_id is None:
        raise bad_settings("modelId is missing; set it, e.g. to '002', or set DefaultModelId.")
    scene_type = _scene_type(values)
    scene_id = _scene_value(values, "sceneId", SceneType.PRESET, scene_type, len(layers))
    color = _scene_value(values, "color", SceneType.COLOR, scene_type, len(layers))
    if color is not None:
        if not _COLOR.fullmatch(color):
            raise bad_settings(
                f"color in {values['color'][1]} is {color!r}; it must look like '#ff8800'."
            )
        color = color.lower()
    return Settings(
        model_id=model_id,
        scene_type=scene_type,
        scene_id=scene_id,
        color=color,
        batch_size=_batch_size(values),
        mask=mask,
        extra=_extra(values),
    )


def _scene_type(values: Mapping[str, tuple[int, str, Any]]) -> SceneType:
    text = _text(values, "sceneType")
    allowed = [scene.value for scene in SceneType]
    if text is None:
        raise bad_settings(f"sceneType is missing; allowed are {', '.join(allowed)}.")
    if text not in allowed:
        raise bad_settings(
            f"sceneType in {values['sceneType'][1]} is {text!r}; allowed are {', '.join(allowed)}."
            + nearest(text, allowed)
        )
    return SceneType(text)


def _scene_value(
    values: Mapping[str, tuple[int, str, Any]],
    name: str,
    needed_by: SceneType,
    scene_type: SceneType,
    layer_count: int,
) -> str | None:
    """Return the value that one scene type needs, or None if the scene type does not use it."""
    text = _text(values, name)
    if scene_type is needed_by:
        if text is None:
            raise bad_settings(
                f"sceneType '{needed_by}' needs {name}, and none is set"
                f" (sceneType is from {values['sceneType'][1]})."
            )
        return text
    if text is not None:
        strength, origin, _ = values[name]
        if strength <= values["sceneType"][0] and strength < layer_count - 1:
            raise bad_settings(
                f"{name} {text!r} in {origin} goes with sceneType '{needed_by}', but sceneType is"
                f" '{scene_type}'. Set sceneType to '{needed_by}' or leave {name} out."
            )
    return None


def _text(values: Mapping[str, tuple[int, str, Any]], name: str) -> str | None:
    if name not in values:
        return None
    _, origin, value = values[name]
    if not isinstance(value, str):
        hint = (
            f" Write it in quotes: {json.dumps(_in_quotes(name, value))}."
            if _is_number(value)
            else ""
        )
        raise bad_settings(f"{name} in {origin} must be a string, not {kind(value)}.{hint}")
    text = value.strip()
    if not text or not text.isprintable() or len(text.encode()) > _MAX_NAME:
        raise bad_settings(
            f"{name} in {origin} is {value[:_MAX_NAME]!r}; it must be printable text of 1 to"
            f" {_MAX_NAME} bytes."
        )
    try:
        return _IDS[name](text) if name in _IDS else text
    except catalogue.NoSuchIdError as error:
        raise bad_settings(f"{name} in {origin} is {shown(text)}, {error}") from error


def _in_quotes(name: str, number: object) -> str:
    """Return the text that a JSON number probably means: the model `2` is `002`."""
    text = str(number)
    try:
        return _IDS[name](text) if name in _IDS else text
    except catalogue.NoSuchIdError as error:
        return error.suggestion or text


def _batch_size(values: Mapping[str, tuple[int, str, Any]]) -> int:
    _, origin, value = values.get("batchSize", (0, "", None))
    # The vendor makes one to four images a task.
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4:  # noqa: PLR2004
        return value
    raise bad_settings(
        f"batchSize in {origin or 'the settings'} is {shown(value)}; it must be a whole number,"
        " 1 to 4."
    )


def _extra(values: Mapping[str, tuple[int, str, Any]]) -> dict[str, Any]:
    _, origin, value = values.get("extra", (0, "", {}))
    if not isinstance(value, dict):
        raise bad_settings(f"extra in {origin} must be a JSON object, not {kind(value)}.")
    for name in value:
        meant = _meant(name, _RESERVED)
        if meant is not None:
            raise bad_settings(f"extra in {origin} sets {shown(name)}; set {meant} itself instead.")
    odd = odd_json(value)
    if odd:
        raise bad_settings(f"extra in {origin} {odd}.")
    if len(json.dumps(value)) > MAX_EXTRA_BYTES:
        raise bad_settings(f"extra in {origin} is longer than {MAX_EXTRA_BYTES} bytes of JSON.")
    return value


def _known_names(document: Mapping[str, object], known: Sequence[str], origin: str) -> None:
    for name in document:
        if name not in known:
            raise bad_settings(
                f"{origin} has the unknown name {shown(name)}; known are {', '.join(known)}."
                + nearest(name, known)
            )


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ` Did you mean 'x'?` for the most similar known name, or nothing."""
    folded = {_folded(entry): entry for entry in known}
    close = difflib.get_close_matches(_folded(name), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def _folded(name: str) -> str:
    """Return what all spellings of a name have in common: `modelid` of `modelId`, `Model-ID`."""
    return re.sub(r"[-_. ]", "", name).lower()


def _meant(name: str, known: Sequence[str]) -> str | None:
    """Return the known name of which this is a spelling, or None."""
    return next((entry for entry in known if _folded(entry) == _folded(name)), None)


def _json(text: str, origin: str) -> Any:  # noqa: ANN401  any JSON value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, entry in pairs:
            if name in value:
                raise bad_settings(f"{origin} has the name {shown(name)} twice; keep one of them.")
            value[name] = entry
        return value

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise bad_settings(f"{origin} is no valid JSON: {error}.") from error
    # Python's messages for the next two errors are meant for programmers.
    except RecursionError as error:
        raise bad_settings(f"{origin} is no valid JSON: it is nested too deep.") from error
    except ValueError as error:
        raise bad_settings(f"{origin} is no valid JSON: a number in it is too long.") from error
    odd = odd_json(value)
    if odd:
        raise bad_settings(f"{origin} {odd}.")
    return value


def odd_json(value: object) -> str | None:
    """Return what makes a JSON value unusable for a record or the vendor's JSON, or None."""
    rest = [(value, 0)]
    while rest:
        entry, depth = rest.pop()
        if depth > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} deep"
        match entry:
            case dict():
                if "" in entry:
                    return "has an empty name"
                rest += [(inner, depth + 1) for pair in entry.items() for inner in pair]
            case list():
                rest += [(inner, depth + 1) for inner in entry]
            case str() if any("\ud800" <= character <= "\udfff" for character in entry):
                return "holds half a character (a lone surrogate)"
            case bool():
                continue
            case int() if abs(entry) >= _MAX_INTEGER:
                return "holds a whole number of more than 38 digits"
            case float() if entry != 0 and not _SMALLEST <= abs(entry) <= _LARGEST:
                return "holds a number that is not finite, or is too large or too small to be kept"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind(value: object) -> str:
    """Name the kind of a JSON value, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def shown(value: object) -> str:
    """Return a value for a message: text in quotes, a long one without its middle."""
    return short(repr(value))


def short(text: str) -> str:
    """Return a text, without its middle if it is long: both ends of a key are useful."""
    half = _MAX_SHOWN // 2
    return text if len(text) <= _MAX_SHOWN else f"{text[:half]}…{text[-half:]}"
