"""The messages on SubmitQueue, read and written.

Each message holds one EventBridge event: S3's "Object Created" for a dropped photo, or "Fashion
Model Requested" from a backend. Catwalk also sends messages to itself, so that a job or an arrival
continues from what is stored. `parse` never raises: a message that cannot be read becomes a
`BrokenEvent`, which gets a REJECTED record.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from shared.addresses import is_public_host
from shared.clock import iso, parse_iso
from shared.errors import InputRejected
from shared.intake.settings import (
    FIELDS,
    FOLDER_FILE,
    MAX_ID,
    MAX_VARIANTS,
    kind,
    nearest,
    odd_json,
    short,
    shown,
)
from shared.models import ErrorCode, Job, JobError

REQUEST_DETAIL_TYPE: Final = "Fashion Model Requested"
CONTINUE_DETAIL_TYPE: Final = "Job Continued"
"""A message that Catwalk sends to SubmitQueue itself: continue a job from its record."""
ARRIVAL_DETAIL_TYPE: Final = "Arrival Continued"
"""The same for an arrival: make the missing records of its jobs."""
DROP_DETAIL_TYPE: Final = "Object Created"
SOURCE: Final = "catwalk"
MASK_SUFFIX: Final = ".mask.png"
MAX_KEY_BYTES: Final = 1024
"""S3's limit. A record's `source_key`, the key of an index, has the same limit."""
MAX_URL_BYTES: Final = 8192
_PHOTO_FIELDS: Final = ("key", "url", "bucket")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,1024}")
"""An ETag, a version id or a sequencer. S3 documents only that these are short ASCII texts."""
_REQUEST_FIELDS: Final = ("requestId", "sku", "photo", "mask", "variants")


@dataclass(frozen=True)
class PhotoRef:
    """The photo or mask of a request: a key in PhotosBucket, or a URL."""

    key: str | None = None
    url: str | None = None

    @property
    def source_key(self) -> str:
        """The record's `source_key`: the key, or `url/<host>/<path>`."""
        if self.key is not None:
            return self.key
        parts = urlsplit(self.url or "")
        whole = f"url/{parts.hostname or ''}/{parts.path.lstrip('/')}".rstrip("/")
        return whole.encode()[:MAX_KEY_BYTES].decode(errors="ignore")


@dataclass(frozen=True)
class PhotoDropped:
    """An object was created in PhotosBucket."""

    key: str
    etag: str
    version_id: str | None
    trigger: str
    """Identifies this drop; a later drop of the same bytes has another one."""
    at: str | None = None
    """The event's time, ISO 8601."""


@dataclass(frozen=True)
class ModelRequested:
    """A backend asks for variants of one photo."""

    photo: PhotoRef
    variants: tuple[Mapping[str, Any], ...]
    """Empty: those of the photo's folder, as for a drop."""
    trigger: str
    request_id: str | None = None
    sku: str | None = None
    mask: PhotoRef | None = None
    at: str | None = None
    """The event's time, ISO 8601."""


@dataclass(frozen=True)
class JobContinued:
    """A job that waited or was recovered continues."""

    job_id: str


@dataclass(frozen=True)
class ArrivalContinued:
    """An arrival was decided, and the function stopped before all its jobs had records."""

    arrival_id: str


@dataclass(frozen=True)
class NotAPhoto:
    """An object that is not meant as a photo: a folder file, a mask, a folder marker, a dotfile."""

    key: str


@dataclass(frozen=True)
class BrokenEvent:
    """A message that cannot be read; it gets a REJECTED record."""

    error: JobError
    request_id: str
    trigger: str
    sku: str | None = None
    source_key: str | None = None


Incoming = PhotoDropped | ModelRequested | JobContinued | ArrivalContinued | NotAPhoto | BrokenEvent


def is_photo_key(key: str) -> bool:
    """Whether an object with this key is meant as a photo; its content does not matter."""
    name = key.rpartition("/")[2]
    return bool(name) and not (
        name.startswith(".") or name == FOLDER_FILE or name.lower().endswith(MASK_SUFFIX)
    )


def parse(body: str, *, message_id: str, photos_bucket: str, vendor_origin: str) -> Incoming:
    """Read one message of SubmitQueue.

    Args:
        body: the message's body, an EventBridge event as JSON.
        message_id: the SQS message id; it identifies an event without an id.
        photos_bucket: the only bucket whose objects a message may name.
        vendor_origin: `scheme://host[:port]` of `VmakeBaseUrl`. Photo URLs there may be http, so
            that requests can name the pictures of the simulated vendor.

    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("detail"), dict):
        return BrokenEvent(
            error=_bad_event("The message is no EventBridge event: it has no detail object."),
            request_id=message_id,
            trigger=message_id,
        )
    event_id = _short_text(event.get("id")) or message_id
    detail: Mapping[str, Any] = event["detail"]
    try:
        odd = odd_json(event)
        if odd:
            raise _rejected(f"The event {odd}.")
        match event.get("detail-type"):
            case "Job Continued":
                return JobContinued(_own_id(detail, "jobId", CONTINUE_DETAIL_TYPE))
            case "Arrival Continued":
                return ArrivalContinued(_own_id(detail, "arrivalId", ARRIVAL_DETAIL_TYPE))
            case "Object Created":
                dropped = _dropped(detail, event_id, photos_bucket)
                if isinstance(dropped, PhotoDropped):
                    return replace(dropped, at=_time_of(event))
                return dropped
            case "Fashion Model Requested":
                request = _requested(detail, event_id, photos_bucket, vendor_origin)
                return replace(request, at=_time_of(event))
            case other:
                error = _bad_event(
                    f"The event's detail-type is {shown(other)}; it must be {DROP_DETAIL_TYPE!r} or"
                    f" {REQUEST_DETAIL_TYPE!r}."
                )
    except InputRejected as rejected:
        error = rejected.error
    return BrokenEvent(
        error=error,
        request_id=_short_text(detail.get("requestId")) or event_id,
        trigger=event_id,
        sku=_short_text(detail.get("sku")),
        source_key=_named_source(detail),
    )


def continue_message(job: Job) -> str:
    """Return the message that makes SubmitFunction continue a job from its record."""
    return json.dumps(
        {
            "source": SOURCE,
            "detail-type": CONTINUE_DETAIL_TYPE,
            "detail": {"jobId": job.job_id},
        }
    )


def arrival_message(arrival_id: str) -> str:
    """Return the message that makes SubmitFunction write the records of an arrival's jobs."""
    return json.dumps(
        {
            "source": SOURCE,
            "detail-type": ARRIVAL_DETAIL_TYPE,
            "detail": {"arrivalId": arrival_id},
        }
    )


def drop_message(
    *,
    bucket: str,
    key: str,
    etag: str,
    version_id: str | None,
    event_id: str,
    at: str | None = None,
) -> str:
    """Return the message of a dropped photo, in place of a lost event of S3.

    Args:
        bucket: PhotosBucket.
        key: the photo's key.
        etag: the ETag of the photo's bytes.
        version_id: the object's version; with it, the message means the same drop as S3's event.
        event_id: identifies the drop if there is no version id.
        at: when it was dropped, ISO 8601; None means now.

    """
    item = {"key": key, "etag": etag}
    if version_id is not None:
        item["version-id"] = version_id
    return json.dumps(
        {
            "id": event_id,
            "source": SOURCE,
            "detail-type": DROP_DETAIL_TYPE,
            **({} if at is None else {"time": at}),
            "detail": {"bucket": {"name": bucket}, "object": item},
        }
    )


def request_message(detail: Mapping[str, Any], *, event_id: str, at: str) -> str:
    """Return the message of a request, in the form in which a backend's event arrives.

    Args:
        detail: as docs/events.md describes it.
        event_id: identifies the event.
        at: when it was asked for (ISO 8601).

    """
    return json.dumps(
        {
            "id": event_id,
            "source": SOURCE,
            "detail-type": REQUEST_DETAIL_TYPE,
            "time": at,
            "detail": dict(detail),
        }
    )


def _time_of(event: Mapping[str, Any]) -> str | None:
    """Return an event's time, or None if it is missing or invalid."""
    text = event.get("time")
    try:
        moment = parse_iso(text) if isinstance(text, str) else None
        return iso(moment) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):  # no moment, or one before year 1
        return None


def _own_id(detail: Mapping[str, Any], name: str, detail_type: str) -> str:
    value = detail.get(name)
    if not isinstance(value, str) or not value:
        raise _rejected(f"A {detail_type!r} message must have the field {name}.")
    return value


def _dropped(
    detail: Mapping[str, Any], event_id: str, photos_bucket: str
) -> PhotoDropped | NotAPhoto:
    item = detail.get("object")
    bucket = detail.get("bucket")
    key = item.get("key") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(key, str) or not key:
        raise _rejected("The Object Created event names no object key.")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise _rejected(f"The Object Created event's key is longer than {MAX_KEY_BYTES} bytes.")
    if not isinstance(bucket, dict) or bucket.get("name") != photos_bucket:
        raise _rejected(f"The Object Created event is not about {photos_bucket}.")
    if not is_photo_key(key):
        return NotAPhoto(key)
    version_id = _token(item.get("version-id"))
    if version_id == "null":
        version_id = None
    # S3 may deliver one event twice with two event ids. The version is the same, and so is the
    # sequencer.
    trigger = version_id or _token(item.get("sequencer")) or event_id
    etag = (_token(item.get("etag")) or "").strip('"')
    return PhotoDropped(key=key, etag=etag, version_id=version_id, trigger=trigger)


def _requested(
    detail: Mapping[str, Any], event_id: str, photos_bucket: str, vendor_origin: str
) -> ModelRequested:
    for name in ("requestId", "sku"):
        value = detail.get(name)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= MAX_ID):
            raise _rejected(f"{name} must be a string of 1 to {MAX_ID} characters.")
    _no_misspelt_name(detail, _REQUEST_FIELDS, "The event")
    if detail.get("variants") is None:
        _no_misplaced_setting(detail)
    if "photo" not in detail:
        raise _rejected("The event has no photo; give photo.key or photo.url.")
    photo = _photo_ref(detail["photo"], "photo", photos_bucket, vendor_origin)
    if photo.key is not None and not is_photo_key(photo.key):
        raise _rejected(
            f"photo.key {shown(photo.key)} is no photo: a folder, a mask, a dotfile or"
            f" {FOLDER_FILE}."
        )
    return ModelRequested(
        photo=photo,
        variants=_variants(detail.get("variants")),
        trigger=event_id,
        request_id=detail.get("requestId"),
        sku=detail.get("sku"),
        mask=mask_ref(detail.get("mask"), photos_bucket, vendor_origin),
    )


def mask_ref(value: object, photos_bucket: str, vendor_origin: str) -> PhotoRef | None:
    """Read a mask: an object like a photo's, or a text that is its key or URL.

    Raises:
        InputRejected: `bad_request_event`, if it is neither, or if its URL is not public.

    """
    if value is None:
        return None
    if isinstance(value, str):
        value = {"url" if "://" in value else "key": value}
    return _photo_ref(value, "mask", photos_bucket, vendor_origin)


def _no_misspelt_name(document: Mapping[str, Any], known: Sequence[str], origin: str) -> None:
    """Refuse an unknown name that is similar to a known one; other unknown names are ignored."""
    for name in document:
        if name not in known and nearest(name, known):
            raise _rejected(f"{origin} has the unknown name {shown(name)}.{nearest(name, known)}")


def _no_misplaced_setting(detail: Mapping[str, Any]) -> None:
    """Refuse a request without variants whose settings stand beside the photo.

    They would be ignored, and a credit would be spent on the folder's settings instead.
    """
    for name, value in detail.items():
        if name not in _REQUEST_FIELDS and nearest(name, FIELDS):
            plain = name in FIELDS and isinstance(value, str) and len(value) <= MAX_ID
            example = {name: value} if plain else {"modelId": "002"}
            raise _rejected(
                f"The event has {shown(name)} beside the photo. Settings belong into variants:"
                f' "variants": [{json.dumps(example)}].'
            )


def _variants(value: object) -> tuple[Mapping[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _rejected(f"variants must be a list of objects, not {kind(value)}.")
    if not 1 <= len(value) <= MAX_VARIANTS:
        raise _rejected(
            f"variants has {len(value)} entries; 1 to {MAX_VARIANTS} are allowed, since each costs"
            " a credit."
        )
    for number, variant in enumerate(value, start=1):
        if not isinstance(variant, dict):
            raise _rejected(f"variants entry {number} must be an object, not {kind(variant)}.")
        for name in variant:
            if name not in FIELDS:
                raise _rejected(
                    f"variants entry {number} has the unknown name {shown(name)}; known are"
                    f" {', '.join(FIELDS)}." + nearest(name, FIELDS)
                )
    return tuple(value)


def _photo_ref(value: object, name: str, photos_bucket: str, vendor_origin: str) -> PhotoRef:
    if not isinstance(value, dict):
        raise _rejected(f"{name} must be an object with a key or a url, not {kind(value)}.")
    _no_misspelt_name(value, _PHOTO_FIELDS, name)
    key, url, bucket = value.get("key"), value.get("url"), value.get("bucket")
    if (key is None) == (url is None):
        both = "both a key and a url" if key is not None else "neither a key nor a url"
        raise _rejected(f"{name} has {both}; give one of them.")
    if url is not None:
        return PhotoRef(url=_public_url(url, f"{name}.url", vendor_origin))
    if not isinstance(key, str):
        raise _rejected(f"{name}.key must be a string, not {kind(key)}.")
    if not key:
        raise _rejected(f"{name}.key is empty; give the key of an object in {photos_bucket}.")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise _rejected(f"{name}.key is longer than {MAX_KEY_BYTES} bytes; S3 has no such key.")
    if bucket is not None and bucket != photos_bucket:
        raise _rejected(
            f"{name}.bucket is {shown(bucket)}; only objects of {photos_bucket} can be used. Copy"
            " the photo there."
        )
    return PhotoRef(key=key)


def _public_url(url: object, name: str, vendor_origin: str) -> str:
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise _rejected(f"{name} must be an https URL.")
    if len(url.encode()) > MAX_URL_BYTES:
        raise _rejected(f"{name} is longer than {MAX_URL_BYTES} bytes.")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _rejected(
            f"{name} {shown(_without_query(url))} is no URL: {short(str(error))}."
        ) from error
    if f"{parts.scheme}://{parts.netloc}" == vendor_origin:
        return url
    if parts.scheme != "https" or not host:
        raise _rejected(f"{name} is {shown(_without_query(url))}; only https URLs can be used.")
    if parts.username is not None:
        raise _rejected(f"{name} has a user name or password; use a URL without them.")
    if not is_public_host(host):
        raise _rejected(
            f"{name} points to {shown(host)}, which is not a public host; give a URL that can be"
            " reached from the internet."
        )
    return url


def _without_query(url: str) -> str:
    """Return a URL without its query, which may hold a signature."""
    return url.partition("?")[0]


def _named_source(detail: Mapping[str, Any]) -> str | None:
    photo = detail.get("photo")
    key = photo.get("key") if isinstance(photo, dict) else None
    if key is None and isinstance(detail.get("object"), dict):
        key = detail["object"].get("key")
    if not isinstance(key, str) or not key or odd_json(key):
        return None
    return key if len(key.encode()) <= MAX_KEY_BYTES else None


def _short_text(value: object) -> str | None:
    if not isinstance(value, str) or odd_json(value):
        return None
    return value if 0 < len(value) <= MAX_ID else None


def _token(value: object) -> str | None:
    """Return an id of S3's, or None for a value that S3 would refuse as one."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _rejected(message: str) -> InputRejected:
    return InputRejected(ErrorCode.BAD_REQUEST_EVENT, message)


def _bad_event(message: str) -> JobError:
    return JobError(code=ErrorCode.BAD_REQUEST_EVENT, message=message)
