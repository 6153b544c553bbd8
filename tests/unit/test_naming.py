"""File names of results are meaningful, unique and valid on all systems."""

import itertools
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.jobs.naming import FileNames, safe_name
from shared.models import Job, JobStatus, Photo, Result, Review, SceneType, Settings

CLARA = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)


def result(index: int = 1, content_type: str = "image/jpeg", key: str = "x/1.jpg") -> Result:
    """Return an image of a job."""
    return Result(
        index=index,
        bucket="results",
        key=key,
        width=8,
        height=8,
        bytes=10,
        sha256="0",
        content_type=content_type,
    )


def job(job_id: str = "5f0e1234abcd", **changes: Any) -> Job:
    """Return a job with one image."""
    values: dict[str, Any] = {
        "job_id": job_id,
        "status": JobStatus.SUCCEEDED,
        "source_key": "summer/Dress 1.final.jpg",
        "settings": CLARA,
        "created_at": "2026-01-31T09:30:00.000Z",
        "updated_at": "2026-01-31T09:30:00.000Z",
        "results": (result(),),
    }
    return Job(**(values | changes))


def names(*jobs: Job) -> list[str]:
    """Return the names of all images, job by job."""
    found = FileNames(jobs)
    return [name for each in jobs for name in found.of(each).values()]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "Dress 1.final_Clara_own-background_1.jpg"),
        ({"sku": "DRESS-42"}, "DRESS-42_Clara_own-background_1.jpg"),
        (
            {"sku": "SU-101", "source_key": "a/su-101_front.jpg"},
            "SU-101_front_Clara_own-background_1.jpg",
        ),
        ({"sku": "SU-1", "source_key": "a/SU-10_front.jpg"}, "SU-1_Clara_own-background_1.jpg"),
        ({"sku": "SU-1", "source_key": "a/SU-1.jpg"}, "SU-1_Clara_own-background_1.jpg"),
        ({"sku": "A/B:42"}, "A_B_42_Clara_own-background_1.jpg"),
        ({"sku": "con.1"}, "_con.1_Clara_own-background_1.jpg"),
        ({"sku": "-rf"}, "_-rf_Clara_own-background_1.jpg"),
        ({"sku": ".."}, "5f0e1234_Clara_own-background_1.jpg"),
        ({"sku": "\u202egpj"}, "_gpj_Clara_own-background_1.jpg"),
        ({"source_key": "a/Kleid e\u0301.jpg"}, "Kleid \u00e9_Clara_own-background_1.jpg"),
        ({"source_key": "a/.jpg"}, "jpg_Clara_own-background_1.jpg"),
        (
            {
                "source_key": None,
                "photo": Photo(url="https://shop.example/p/rotes%20Kleid.png?size=2#x"),
            },
            "rotes Kleid_Clara_own-background_1.jpg",
        ),
        (
            {"source_key": None, "photo": Photo(url="https://shop.example/")},
            "5f0e1234_Clara_own-background_1.jpg",
        ),
        ({"settings": None}, "Dress 1.final_1.jpg"),
        ({"results": (result(3, "image/png"),)}, "Dress 1.final_Clara_own-background_3.png"),
        (
            {"results": (result(1, "image/webp", "x/1.WEBP"),)},
            "Dress 1.final_Clara_own-background_1.webp",
        ),
        ({"results": (result(1, "", "x/1"),)}, "Dress 1.final_Clara_own-background_1.bin"),
    ],
)
def test_name(changes: dict[str, Any], name: str) -> None:
    """A name says which article or photo, model, scene and image it is."""
    assert names(job(**changes)) == [name]


@pytest.mark.parametrize(
    ("settings", "look"),
    [
        ({"model_id": "044", "scene_type": "preset", "scene_id": "035"}, "Lavanya_preset-035"),
        ({"scene_type": "color", "color": "#f4e9dd"}, "Clara_color-f4e9dd"),
        ({"model_id": "private-9"}, "private-9_own-background"),
    ],
)
def test_look(settings: dict[str, str], look: str) -> None:
    """Known models have their names, scenes the words of result keys."""
    settings_ = Settings.model_validate({**CLARA.model_dump(), **settings})
    assert names(job(sku="S", settings=settings_)) == [f"S_{look}_1.jpg"]


def test_review_changes_no_name() -> None:
    """Choosing images does not change their names."""
    before = job(sku="S", results=(result(1), result(2)))
    review = Review(chosen=(2,), by="anna", at="2026-01-31T09:30:00.000Z", revision=1)
    after = before.model_copy(update={"review": review})
    expected = ["S_Clara_own-background_1.jpg", "S_Clara_own-background_2.jpg"]
    assert names(before) == names(after) == expected


def test_job_without_images_takes_no_name() -> None:
    """A job without images does not take the plain name."""
    failed = job("aaaaaaaa", sku="S", results=(), created_at="2026-01-01")
    assert names(failed, job("bbbbbbbb", sku="S")) == ["S_Clara_own-background_1.jpg"]


def test_collision_is_settled_by_the_id() -> None:
    """Two photos of an article have different names; the first that is done has the plain one."""
    old = job("aaaaaaaa11", sku="S", finished_at="2026-01-01")
    new = job(
        "bbbbbbbb22", sku="s", finished_at="2026-01-02", results=(result(1), result(2, "image/png"))
    )
    again = job("bbbbbbbb33", sku="S", finished_at="2026-01-03", created_at="2025-12-31")
    expected = [
        "S_Clara_own-background_1.jpg",
        "s_Clara_own-background_bbbbbbbb_1.jpg",
        "s_Clara_own-background_bbbbbbbb_2.png",
        "S_Clara_own-background_bbbbbbbb33_1.jpg",
    ]
    assert names(old, new, again) == expected
    for order in itertools.permutations((old, new, again)):
        assert sorted(names(*order)) == sorted(expected), "the order changes no name"
        assert FileNames(order).of(again) == {1: expected[3]}
    assert names(old, new) == expected[:3], "a later job changes no earlier name"
    past = old.as_past
    anew = old.model_copy(update={"attempt": 2, "finished_at": "2026-02-01", "history": (past,)})
    assert names(anew, new, again) == expected, "a new attempt keeps the names"


def test_name_that_looks_like_a_collision() -> None:
    """A name is unique even if an article's number looks like a name with an id."""
    given_out = FileNames()
    for job_id, end in (("aaaaaaaa1", ""), ("aaaaaaaa2", "_aaaaaaaa"), ("aaaaaaaa", "_(2)")):
        named = given_out.of(job(job_id, sku="S"))
        assert list(named.values()) == [f"S_Clara_own-background{end}_1.jpg"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b.png", "a_b.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\\..\\b:c?.png", "a_.._b_c_.png"),
        ("aux.png", "_aux.png"),
        ("x\x00y\n.png", "x_y_.png"),
        ("..", "_"),
        (" a ", "a"),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    """A name never leads out of its folder."""
    assert safe_name(text) == name


@given(
    skus=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=256), max_size=6),
    model=st.text(st.characters(codec="utf-8"), max_size=128),
)
def test_any_names(skus: list[str], model: str) -> None:
    """Names of any articles and models are unique and valid in every file system."""
    settings = CLARA.model_copy(update={"model_id": model})
    jobs = [job(f"{n:032x}", sku=sku, settings=settings) for n, sku in enumerate(skus)]
    found = names(*jobs)
    folded = [unicodedata.normalize("NFD", name).casefold() for name in found]
    assert len({*folded}) == len(skus)
    for name in found:
        assert len(f"{name}.part".encode()) <= 255
        assert name.isprintable()
        assert not set(name) & set('<>:"|?*\\/')
        assert name[0] not in ".- "
