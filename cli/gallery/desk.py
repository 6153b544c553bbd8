"""What the gallery spends, uploads and decides with: the caller's own AWS rights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import platformdirs

from cli.jobs.shoot import Shooter
from cli.stacks.stack import Catwalk
from cli.upload.collect import Rules
from shared import clients

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def spool_folder() -> Path:
    """Return where photos are kept between the browser and the bucket."""
    # Not the system's folder for temporary files, which may lie in memory.
    return Path(platformdirs.user_cache_path("catwalk")) / "uploads"


@dataclass(frozen=True)
class Desk:
    """The means of a merchandiser's desk."""

    shooter: Callable[[], Shooter]
    """A new one for each decision: it reads each photo once."""
    rules: Callable[[], Rules]
    """The stack's settings and limits for photos, read anew for each list of photos."""
    s3: "S3Client" = field(repr=False)
    photos_bucket: str
    spool: Path

    @classmethod
    def of(cls, stack: Catwalk) -> Self:
        """Work with this stack."""
        return cls(
            shooter=lambda: Shooter.of(stack),
            rules=lambda: Rules.of(stack),
            s3=clients.s3(),
            photos_bucket=stack.outputs["PhotosBucketName"],
            spool=spool_folder(),
        )
