"""What the demo drops and requests, and how each job must end."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from local.errors import DemoError
from local.paths import SAMPLES
from local.stack.stack import Stack
from shared.models import JobStatus
from shared.vmake.catalogue import MODELS

RESULTS_A_TASK: Final = 4
"""The stack's DefaultBatchSize."""


@dataclass(frozen=True)
class Look:
    """A model and a scene, in the words of the record."""

    model_id: str
    scene: str
    """`original`, `none`, `preset-035` or `color-ff0000`."""

    def __str__(self) -> str:
        """Return the look in words."""
        kind, _, value = self.scene.partition("-")
        words = {
            "original": "own background",
            "none": "cut out",
            "preset": f"scene {value}",
            "color": f"on #{value}",
        }
        return f"{MODELS[self.model_id]}, {words[kind]}"

    def fields(self) -> dict[str, str]:
        """Return the fields of a request for this look."""
        kind, _, value = self.scene.partition("-")
        extra = {"preset": {"sceneId": value}, "color": {"color": f"#{value}"}}.get(kind, {})
        return {"modelId": self.model_id, "sceneType": kind, **extra}

    def metadata(self) -> dict[str, str]:
        """Return the S3 user metadata for this look."""
        names = {"modelId": "model-id", "sceneType": "scene-type", "sceneId": "scene-id"}
        return {names.get(name, name): value for name, value in self.fields().items()}


@dataclass(frozen=True)
class Upload:
    """An object to put into PhotosBucket."""

    key: str
    body: bytes = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def perform(self, stack: Stack) -> None:
        """Put the object into a stack's bucket."""
        stack.clients.s3.put_object(
            Bucket=stack.output("PhotosBucketName"),
            Key=self.key,
            Body=self.body,
            Metadata=self.metadata,
        )


@dataclass(frozen=True)
class Request:
    """An event to put on CatwalkBus."""

    detail: Mapping[str, Any]

    def perform(self, stack: Stack) -> None:
        """Put the event on a stack's bus.

        Raises:
            DemoError: the bus refused it.

        """
        answer = stack.clients.events.put_events(
            Entries=[
                {
                    "Source": "shop",
                    "DetailType": "Fashion Model Requested",
                    "EventBusName": stack.output("EventBusName"),
                    "Detail": json.dumps(self.detail),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise DemoError(f"The event was refused: {answer['Entries'][0]}.")


@dataclass(frozen=True)
class Expected:
    """A job that the demo must lead to."""

    key: str
    look: Look | None
    """None if the file is no photo."""
    by_event: bool = False
    status: JobStatus = JobStatus.SUCCEEDED


_DEFAULT: Final = Look("002", "original")
"""The stack's defaults."""
_WINTER: Final = Look("044", "preset-033")

_WITH_METADATA: Final = (
    ("spring/tshirt.jpg", "tshirt.jpg", Look("003", "color-f2c9a1"), "TS-2201"),
    ("spring/skirt.png", "skirt.png", Look("004", "none"), "SK-2207"),
    ("denim/trousers.jpg", "trousers.jpg", Look("002", "preset-035"), "TR-3310"),
    ("office/shirt.jpg", "shirt.jpg", Look("001", "preset-036"), "SH-4120"),
    ("people/portrait.jpg", "portrait.jpg", Look("002", "preset-001"), "PF-5002"),
)
_ORDER: Final = (Look("003", "color-20463a"), Look("004", "preset-034"))
_NO_PHOTO: Final = "spring/line-sheet.pdf"

EXPECTED: Final = (
    Expected("spring/dress.jpg", _DEFAULT),
    *(Expected(key, look) for key, _, look, _ in _WITH_METADATA),
    Expected("winter/jacket.jpg", _WINTER),
    Expected("winter/sweater.jpg", _WINTER),
    Expected("winter/hoodie.jpg", _WINTER),
    *(Expected("winter/hoodie.jpg", look, by_event=True) for look in _ORDER),
    Expected(_NO_PHOTO, None, status=JobStatus.REJECTED),
)
CREDITS: Final = sum(expected.status is JobStatus.SUCCEEDED for expected in EXPECTED)
"""A task costs one credit."""


def actions() -> Iterator[Upload | Request]:
    """Yield the demo's actions: a folder's settings and masks come before its photos."""
    yield Upload("spring/dress.jpg", _sample("dress.jpg"), {"sku": "DR-2204"})
    for key, sample, look, sku in _WITH_METADATA:
        yield Upload(key, _sample(sample), {**look.metadata(), "sku": sku})
    yield Upload(_NO_PHOTO, b"%PDF-1.7\n% not a photo\n")
    yield Upload("winter/catwalk.json", json.dumps(_WINTER.fields(), indent=2).encode())
    yield Upload("winter/jacket.mask.png", _sample("jacket.mask.png"))
    for name in ("jacket.jpg", "sweater.jpg", "hoodie.jpg"):
        yield Upload(f"winter/{name}", _sample(name))
    yield Request(
        {
            "requestId": "order-4711",
            "sku": "HD-1108",
            "photo": {"key": "winter/hoodie.jpg"},
            "variants": [look.fields() for look in _ORDER],
        }
    )


def sample_of(key: str) -> str:
    """Return the name of the sample file with this key."""
    return key.rpartition("/")[2]


def _sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()
