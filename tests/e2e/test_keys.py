"""A photo with any key, uploaded in any way, succeeds."""

import io
import os
import subprocess
from email.header import decode_header, make_header
from pathlib import Path

import pytest
from PIL import Image

from local.paths import TOOLS
from local.stack import environment
from tests.e2e.driver import Catwalk, photo, sha256

AWS_CLI = TOOLS / "awscli" / "bin" / "aws"

ODD_KEYS = [
    "odd/with spaces.jpg",
    "odd/a+b.jpg",
    "odd/100% cotton %2F %20.jpg",
    "odd/Übergröße/Kleid für Jörg ß.jpg",
    "odd/UPPER.JPG",
    "odd/👗 summer 夏.jpg",
    "odd/a/b/c/d/e/f/g/h/deep.jpeg",
    "odd/two.dots.in.name.jpg",
    "odd/no-extension",
    "odd/quo'te & (brackets) [x] {y} = ; , @ $ !.jpg",
    "odd/query?x=1#fragment.jpg",
    "odd/" + "long-" * 71 + "x.jpg",
]


@pytest.fixture(scope="module")
def odd_photos(catwalk: Catwalk) -> dict[str, bytes]:
    """Drop a photo under each odd key."""
    bodies = {key: photo() for key in ODD_KEYS}
    for key, body in bodies.items():
        catwalk.drop(key, body, {"batch-size": "1"})
    return bodies


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_an_odd_key(catwalk: Catwalk, odd_photos: dict[str, bytes], key: str) -> None:
    """Record and result have the photo's key unchanged, and the photo costs one credit."""
    record = catwalk.end_of(key)
    (result,) = record["results"]
    stem = os.path.splitext(key)[0]  # noqa: PTH122  a key is no path
    assert result["key"] == f"{stem}/002-original/{record['job_id']}-1.jpg"
    _, answer = catwalk.object(result["bucket"], result["key"])
    # S3 returns metadata that is not ASCII encoded as in mail headers.
    assert str(make_header(decode_header(answer["Metadata"]["source-key"]))) == key
    assert catwalk.charges(odd_photos[key]) == 1


@pytest.fixture
def aws_cli(catwalk: Catwalk, tmp_path: Path) -> dict[str, str]:
    """Return the environment of the real AWS CLI."""
    address = catwalk.stack.address
    return environment.bare(tmp_path) | environment.aws(
        tmp_path,
        endpoint=address.endpoint,
        ca_bundle=Path(address.ca_bundle),
        credentials=address.credentials,
    )


def copy(file: Path, target: str, aws_cli: dict[str, str], *more: str) -> None:
    """Run `aws s3 cp`."""
    done = subprocess.run(
        [AWS_CLI, "s3", "cp", file, target, "--no-progress", *more],
        env=aws_cli,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_aws_cli_drops_a_photo(
    catwalk: Catwalk, aws_cli: dict[str, str], tmp_path: Path
) -> None:
    """`aws s3 cp` with metadata drops a photo with its settings."""
    body, bucket = photo(), catwalk.stack.output("PhotosBucketName")
    file = tmp_path / "dress.jpg"
    file.write_bytes(body)
    key = "cli/Größe 38 + 40.jpg"
    copy(file, f"s3://{bucket}/{key}", aws_cli, "--metadata", "model-id=003,batch-size=1")
    record = catwalk.end_of(key)
    assert record["settings"]["model_id"] == "003"
    assert catwalk.charges(body) == 1


def test_a_large_photo_in_parts_is_one_job(
    catwalk: Catwalk, aws_cli: dict[str, str], tmp_path: Path
) -> None:
    """A photo that the AWS CLI uploads in parts, with a multipart ETag, is charged once."""
    buffer = io.BytesIO()
    noise = Image.frombytes("RGB", (2600, 2600), os.urandom(3 * 2600 * 2600))
    noise.save(buffer, "JPEG", quality=99)
    body = buffer.getvalue()
    assert len(body) > 12_000_000, "the AWS CLI uploads less than 8 MiB in one part"
    file = tmp_path / "large.jpg"
    file.write_bytes(body)
    bucket = catwalk.stack.output("PhotosBucketName")
    copy(file, f"s3://{bucket}/cli/large.jpg", aws_cli, "--metadata", "batch-size=1")
    record = catwalk.end_of("cli/large.jpg")
    assert "-" in record["photo"]["etag"]
    assert record["photo"]["bytes"] == len(body)
    (task,) = catwalk.tasks(body)
    assert task["photo"]["sha256"] == sha256(body)
    assert catwalk.charges(body) == 1
