"""The words for people: statuses, reviews, models and backgrounds. `--json` has the codes.

The gallery uses the same words.
"""

from collections.abc import Mapping
from typing import Final

from shared.models import Job, JobStatus, Review, ReviewState, SceneType, Settings
from shared.vmake.catalogue import MODELS

STATUS_WORDS: Final[Mapping[JobStatus, str]] = {
    JobStatus.ACCEPTED: "Waiting",
    JobStatus.SUBMITTING: "On its way",
    JobStatus.SUBMIT_UNKNOWN: "Needs you",
    JobStatus.RUNNING: "Running",
    JobStatus.SUCCEEDED: "Done",
    JobStatus.PARTIAL: "Partly done",
    JobStatus.FAILED: "Failed",
    JobStatus.REJECTED: "Rejected",
}
REVIEW_WORDS: Final[Mapping[ReviewState, str]] = {
    ReviewState.TO_REVIEW: "To review",
    ReviewState.APPROVED: "Approved",
    ReviewState.REFUSED: "Refused",
}


def model_word(model_id: str) -> str:
    """Return a model's name; its id if it has none."""
    return MODELS.get(model_id, model_id)


def scene_word(settings: Settings) -> str:
    """Return a background in words."""
    match settings.scene_type:
        case SceneType.ORIGINAL:
            return "own background"
        case SceneType.NONE:
            return "cut out"
        case SceneType.PRESET:
            return f"scene {settings.scene_id}"
        case SceneType.COLOR:
            return f"on {settings.color}"


def look_of(job: Job) -> str:
    """Return a job's model and background, `Clara, scene 035`; empty if unknown."""
    if job.settings is None:
        return ""
    return f"{model_word(job.settings.model_id)}, {scene_word(job.settings)}"


def settings_words(settings: Settings) -> str:
    """Return settings in words: `Clara, scene 035, 4 images`."""
    count = settings.batch_size
    images = f"{count} image{'' if count == 1 else 's'}"
    return f"{model_word(settings.model_id)}, {scene_word(settings)}, {images}"


def review_words(review: Review | None) -> str:
    """Return a review: `Approved; 1 and 3 chosen, 2 refused`."""
    if review is None:
        return REVIEW_WORDS[ReviewState.TO_REVIEW]
    return marks_words(review.state, review.chosen, review.refused)


def marks_words(state: ReviewState, chosen: tuple[int, ...], refused: tuple[int, ...]) -> str:
    """Return a decision and its marks: `Approved; 1 and 3 chosen, 2 refused`."""
    marks = [
        f"{numbers(which)} {word}"
        for which, word in ((chosen, "chosen"), (refused, "refused"))
        if which
    ]
    return "; ".join(filter(None, (REVIEW_WORDS[state], ", ".join(marks))))


def numbers(values: tuple[int, ...]) -> str:
    """Return numbers as a list in a sentence: `1`, `1 and 3`, `1, 2 and 3`."""
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
