"""Looks: model, background and number of images, as the gallery's forms offer and send them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cli.jobs.browse import Browser, Filter
from shared.intake.settings import METADATA_FIELDS, bad_settings, shown
from shared.models import Job, JobStatus, SceneType
from shared.vmake.catalogue import MODELS, SCENES

_RECENT: Final = 200
"""Jobs among which an example of each look is searched."""
_SECONDS: Final = 1.5
_MOST: Final = 64
"""Characters of a value that a form may send."""
_METADATA_NAMES: Final = {field: name for name, field in METADATA_FIELDS.items()}


@dataclass(frozen=True)
class Option:
    """One choice of a form."""

    value: str
    name: str


MODEL_OPTIONS: Final = tuple(
    Option(id_, name) for id_, name in sorted(MODELS.items(), key=lambda pair: pair[1])
)
SCENE_OPTIONS: Final = (
    Option("original", "Own background"),
    Option("none", "Cut out"),
    *(Option(f"preset:{scene}", f"Scene {scene}") for scene in sorted(SCENES)),
)


def values_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a form chose, under the vendor's field names.

    What the form leaves empty is left out. The values themselves are checked where they are
    resolved, by the code of `shared.intake.settings`.

    Raises:
        InputRejected: a value is no text, or no number of images.

    """
    values: dict[str, Any] = {}
    model, scene, images = (_text(document, name) for name in ("model", "scene", "images"))
    if model:
        values["modelId"] = model
    if scene:
        kind, _, which = scene.partition(":")
        values["sceneType"] = kind
        if which and kind == SceneType.PRESET:
            values["sceneId"] = which
        elif which:
            values["color"] = which
    if images:
        if not images.isdecimal():
            raise bad_settings(f"The number of images is {shown(images)}; it must be 1 to 4.")
        values["batchSize"] = int(images)
    return values


def metadata_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as a photo's S3 user metadata has them."""
    return {_METADATA_NAMES[field]: str(value) for field, value in values.items()}


def phrase(values: Mapping[str, Any]) -> str:
    """Return chosen settings in words: ` with Mia, cut out`; empty where nothing is chosen."""
    words = []
    if "modelId" in values:
        words.append(f"with {MODELS.get(values['modelId'], values['modelId'])}")
    match values.get("sceneType"):
        case None:
            pass
        case SceneType.ORIGINAL:
            words.append("on their own background")
        case SceneType.NONE:
            words.append("cut out")
        case SceneType.PRESET:
            words.append(f"in scene {values.get('sceneId', '')}")
        case _:
            words.append(f"on {values.get('color', 'a colour')}")
    return f" {', '.join(words)}" if words else ""


def examples(browser: Browser) -> dict[str, Job]:
    """Return the newest finished job of each model and scene among the latest ones.

    The keys are the values of the options.
    """
    which = Filter(statuses=frozenset({JobStatus.SUCCEEDED}))
    found: dict[str, Job] = {}
    for job in browser.page(which, size=_RECENT, seconds=_SECONDS).jobs:
        if job.settings is None or not job.results:
            continue
        kind = job.settings.scene_type
        scene = f"{kind}:{job.settings.scene_id}" if kind is SceneType.PRESET else kind.value
        found.setdefault(job.settings.model_id, job)
        found.setdefault(scene, job)
    return found


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str) or len(value) > _MOST or not value.isprintable():
        raise bad_settings(f"{name} must be a line of at most {_MOST} characters.")
    return value.strip()
