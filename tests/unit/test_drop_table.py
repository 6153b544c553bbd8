"""`catwalk drop` with `--sku-from` and `--table`, and what it says before it spends."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from cli.errors import CommandError
from cli.upload.table import SkuPattern, read_table
from shared.intake.settings import metadata_text
from shared.models import JobStatus, Photo, SceneType, Settings, job_id_of
from shared.records.jobs import JobRepository
from tests.cli_runner import Shell
from tests.factories import PHOTOS, png


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes files into a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, content: bytes | str | None = None) -> Path:
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        content = png(padding=len(name)) if content is None else content
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return make


def settings_of(shell: Shell, key: str) -> dict[str, str]:
    """Return the settings of a photo in the bucket."""
    metadata = shell.aws.s3.head_object(Bucket=PHOTOS, Key=key)["Metadata"]
    return {name: metadata_text(value) for name, value in metadata.items()}


# --- --sku-from ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "sku"),
    [
        ("{sku}_*", "DRESS-42_front.jpg", "DRESS-42"),
        ("{sku}_*", "A_B_front.jpg", "A"),
        ("{sku}_*_*", "A_front_1.jpg", "A"),
        ("{sku}", "DRESS-42.final.png", "DRESS-42.final"),
        ("*-{sku}.jpg", "shop-42.jpg", "42"),
        ("IMG_*_{sku}", "IMG_0001_K 7.jpg", "K 7"),
        ("({sku})*", "(é)x.jpg", "é"),
        ("{sku}_*", "Kleid e\u0301_1.jpg", "Kleid \u00e9"),
        ("{sku}_*", "DRESS-42.jpg", None),
        ("{sku}_*", "_front.jpg", None),
        ("{sku}.[a]", "x.a", None),
    ],
)
def test_patterns(pattern: str, name: str, sku: str | None) -> None:
    """A pattern matches the name with or without its extension; other characters are literal."""
    assert SkuPattern.of(pattern).sku_of(name) == sku


@pytest.mark.parametrize("pattern", ["", "*_*", "{sku}_{sku}", "{SKU}", "summer/{sku}"])
def test_pattern_without_an_article(pattern: str) -> None:
    """A pattern says exactly once where the article is."""
    with pytest.raises(CommandError, match="does not say where the SKU is"):
        SkuPattern.of(pattern)


def test_sku_from_names(shell: Shell, photo: Callable[..., Path]) -> None:
    """Each photo gets its own article; all other settings are the same for all."""
    photo("shop/A-1_front.png")
    photo("shop/B-2_back.png")
    assert shell("drop", "shop", "--sku-from", "{sku}_*", "--model", "mia")[0] == 0
    assert settings_of(shell, "shop/A-1_front.png") == {"sku": "A-1", "model-id": "004"}
    assert settings_of(shell, "shop/B-2_back.png") == {"sku": "B-2", "model-id": "004"}


def test_names_without_an_article(shell: Shell, photo: Callable[..., Path]) -> None:
    """Photos whose names do not match are listed, and the command asks."""
    photo("A-1_front.png")
    photo("other.png")
    words = ("drop", "A-1_front.png", "other.png", "--sku-from", "{sku}_*")
    says = "1 photo does not match '{sku}_*' and would get no SKU: other.png."
    code, out, err = shell(*words, says="n\n")
    assert (code, says in err, "Go on with Clara" in out, shell.versions()) == (1, True, True, [])
    code, _, err = shell(*words, "--dry-run")
    assert (code, says in err) == (0, True)
    assert shell(*words, "--yes")[0] == 0
    assert settings_of(shell, "other.png") == {}
    code, _, err = shell("drop", "other.png", "--sku-from", "{sku}_*", "--yes")
    assert (code, "No photo's name matches '{sku}_*': other.png." in err) == (1, True)


def test_article_that_cannot_be_used(shell: Shell, photo: Callable[..., Path]) -> None:
    """An invalid article in a name is refused with an error about --sku-from."""
    photo("A\x07_front.png")
    code, _, err = shell("drop", "A\x07_front.png", "--sku-from", "{sku}_*", "--yes")
    assert (code, shell.versions()) == (1, [])
    assert err.startswith("--sku-from finds 'A\\x07' in 'A\\x07_front.png'.")


# --- --table -------------------------------------------------------------------------------------


def test_table(shell: Shell, photo: Callable[..., Path]) -> None:
    """Each line has the settings of a photo; an empty cell keeps the option's value."""
    photo("shop/a.png")
    photo("shop/b.png")
    photo("shop/deep/c.png")
    photo("list/cut.png")
    photo(
        "list/settings.csv",
        "\ufeffName;SKU;model;Scene;color;images;mask;request_id;extra\r\n"
        'a.png;"DRÉSS;1";Mia;preset:035;;2;;;\r\n'
        ";;;;;;;;\r\n"
        'shop/deep/c.png;C-3;;;f4e9dd;;cut.png;r-9;"{""seed"": 1}"\r\n'
        "b.png;;;;;;;;\r\n",
    )
    words = ("--table", "list/settings.csv", "--scene", "preset:033", "--images", "1")
    code, out, err = shell("drop", "shop", *words)
    assert (code, err) == (0, "")
    assert "3 photos and 1 other file" in out
    base = {"scene-type": "preset", "scene-id": "033", "batch-size": "1"}
    assert settings_of(shell, "shop/a.png") == {
        "sku": "DRÉSS;1",
        "model-id": "004",
        "scene-type": "preset",
        "scene-id": "035",
        "batch-size": "2",
    }
    assert settings_of(shell, "shop/b.png") == base
    assert settings_of(shell, "shop/deep/c.png") == {
        "sku": "C-3",
        "scene-type": "color",
        "color": "#f4e9dd",
        "batch-size": "1",
        "request-id": "r-9",
        "extra": '{"seed":1}',
    }
    assert shell.aws.s3.head_object(Bucket=PHOTOS, Key="shop/deep/c.mask.png")["Metadata"] == {}


def test_table_and_names(shell: Shell, photo: Callable[..., Path]) -> None:
    """The table's article overrides the name's; photos that are not in the table are counted."""
    photo("shop/A_1.png")
    photo("shop/B_1.png")
    photo("t.csv", "name,sku,images\nA_1.png,TABLE,\n")
    words = ("drop", "shop", "--table", "t.csv", "--sku-from", "{sku}_*")
    code, _, err = shell(*words, says="n\n")
    assert (code, shell.versions()) == (1, [])
    assert "1 photo of 2 not in t.csv: the other settings apply to them." in err
    assert shell(*words, "--yes")[0] == 0
    assert settings_of(shell, "shop/A_1.png") == {"sku": "TABLE"}
    assert settings_of(shell, "shop/B_1.png") == {"sku": "B"}


def test_photos_that_are_not_in_the_table_are_told(
    shell: Shell, photo: Callable[..., Path]
) -> None:
    """A line about a photo that is left out does not hide photos without a line."""
    photo("shop/a.png")
    photo("shop/broken.png", "no picture")
    photo("t.csv", "name,sku\nbroken.png,1\n")
    code, out, err = shell("drop", "shop", "--table", "t.csv", says="n\n")
    assert "1 photo of 1 not in t.csv: the other settings apply to them." in err
    assert (code, "Go on with" in out, shell.versions()) == (1, True, [])


def test_masks_of_a_table(shell: Shell, photo: Callable[..., Path]) -> None:
    """A line's mask overrides --mask, and is used for its own photo only."""
    photo("shop/a.png")
    photo("cut.png")
    photo("t.csv", "name,mask\na.png,cut.png\n")
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="shop/all.png", Body=png())
    words = ("drop", "shop", "--table", "t.csv", "--yes")
    assert shell(*words, "--mask", "shop/all.png")[0] == 0
    assert settings_of(shell, "shop/a.png") == {}
    assert shell.aws.s3.head_object(Bucket=PHOTOS, Key="shop/a.mask.png")
    photo("shop/a.jpg")
    photo("other.png")
    photo("t.csv", "name,mask\na.png,cut.png\na.jpg,other.png\n")
    before = shell.versions()
    code, _, err = shell(*words)
    assert (code, shell.versions()) == (1, before)
    assert "t.csv: line 3: 'shop/a.jpg' and 'shop/a.png' share the mask shop/a.mask.png" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "t.csv: it has no column 'name'"),
        ("file,sku\na.png,1\n", "there is no column 'file'; the columns are name, sku"),
        ("name,modell\na.png,mia\n", "there is no column 'modell'; did you mean 'model'?"),
        ("name,sku,SKU\na.png,1,2\n", "the column 'sku' is there 2 times."),
        ("sku\n1\n", "it has no column 'name'"),
        ("name,sku\n", "it has a header and no line."),
        ("name,sku\n,1\n", "line 2 has no name."),
        ("name,sku\na.png,1\nb.png,2\na.png,3\n", "'a.png' is in line 2 and again in line 4."),
        ("name,sku\na.png,1\nshop/a.png,3\n", "line 3: 'shop/a.png' and 'a.png' of line 2 are"),
        ("name,sku\nx.png,1\n", "line 2: There is no photo 'x.png' among those to drop."),
        ("name,sku\nb.pgn,1\n", "Did you mean 'b.png'?"),
        ("name,sku\nc.png,1\n", "line 2: 2 photos are named 'c.png'. Write more of the path"),
        ("name,sku\na.png,1,2\n", "line 2 has 3 cells, the header 2."),
        ("name,model\na.png,clare\n", "line 2: There is no model 'clare'. Did you mean 'clara'"),
        ("name,scene\na.png,beach\n", "line 2: scene 'beach' is not a background."),
        (
            "name,scene,color\na.png,none,f4e9dd\n",
            "line 2: It has the background 'none' and a color.",
        ),
        ("name,color\na.png,red\n", "line 2: scene 'color:red' is not a background."),
        ("name,images\na.png,5\n", "line 2: images is '5'. Give a number from 1 to 4."),
        ("name,mask\na.png,gone.png\n", "There is no mask 'gone.png'"),
        ("name,mask\na.png,http://x/y.png\n", "line 2: mask cannot be used"),
        ("name,mask\nb.png,cut.png\n", "line 2: The photo has another mask beside it"),
        ("name,extra\na.png,[]\n", "line 2: extra is not a JSON object."),
        (f"name,sku\na.png,{'x' * 300}\n", "line 2: sku is"),
        ('name,sku\na.png,"x\n', "line 2: unexpected end of data."),
        ("name,sku\na.png,4.00638E+12\n", "line 2: sku is '4.00638E+12', which a spreadsheet"),
        ("name;sku\na.png;4,00638E+12\n", "line 2: sku is '4,00638E+12', which a spreadsheet"),
        ("name,sku\na.png,#N/A\n", "line 2: sku is '#N/A', which a spreadsheet"),
        ("name,sku\na.png,#BEZUG!\n", "line 2: sku is '#BEZUG!', which a spreadsheet"),
        ("name,sku\na.png,#DIV/0!\n", "line 2: sku is '#DIV/0!', which a spreadsheet"),
        (b"name,sku\na.png,\xe9\n", "--table 't.csv' is not UTF-8"),
        (b"PK\x03\x04\0\0", "--table 't.csv' is not a table of text."),
    ],
)
def test_wrong_tables(
    shell: Shell, photo: Callable[..., Path], content: str | bytes, says: str
) -> None:
    """A mistake in a table is reported with its line before anything is uploaded."""
    for name in ("a.png", "b.png", "b.mask.png", "x/c.png", "y/c.png"):
        photo(f"shop/{name}")
    photo("cut.png")
    photo("t.csv", content)
    code, _, err = shell("drop", "shop", "--table", "t.csv", "--yes")
    assert (code, says in err, shell.versions()) == (1, True, [])
    assert len(err.splitlines()) == 2


def test_all_mistakes_are_listed(shell: Shell, photo: Callable[..., Path]) -> None:
    """A table with several mistakes lists them, up to ten."""
    photo("a.png")
    lines = "".join(f"x{n}.png,1\n" for n in range(12))
    photo("t.csv", f"name,sku\n{lines}")
    code, _, err = shell("drop", "a.png", "--table", "t.csv")
    said = err.splitlines()
    assert (code, len(said)) == (1, 13)
    assert said[9].startswith("line 11: There is no photo 'x9.png'")
    assert said[10:12] == ["… and 2 more.", "t.csv: 12 mistakes."]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--table", ""], "--table is empty."),
        (["--table", "none.csv"], "--table 'none.csv' cannot be read: No such file"),
        (["--sku", "1", "--sku-from", "{sku}_*"], "--sku and --sku-from contradict each other."),
        (["--to", "s3://photos/summer"], "--to 's3://photos/summer' is an address."),
        (["--mask", "nix.png"], "There is no mask 'nix.png'"),
    ],
)
def test_wrong_words(shell: Shell, photo: Callable[..., Path], words: list[str], says: str) -> None:
    """Unusable tables are refused before anything is uploaded."""
    photo("a.png")
    code, _, err = shell("drop", "a.png", *words)
    assert (code, err.startswith(says), shell.versions()) == (1, True, [])


def test_delimiters(photo: Callable[..., Path]) -> None:
    """Commas, semicolons and tabs separate cells, as spreadsheets write them."""
    for delimiter in ",;\t":
        file = photo("t.csv", f"name{delimiter}sku\na,b.png{delimiter}1\n".replace("a,b", "ab"))
        (row,) = read_table(file)
        assert (row.name, row.cells, row.line) == ("ab.png", {"sku": "1"}, 2)


def test_ends_of_lines(photo: Callable[..., Path]) -> None:
    """The line endings of all systems are read, and no other character ends a line."""
    for end in ("\n", "\r\n", "\r"):
        names = "".join(f"a,b,{number}.png;A\u2028B{end}" for number in range(2))
        rows = read_table(photo("t.csv", f"name;sku{end}{names}"))
        assert [(row.name, row.cells["sku"], row.line) for row in rows] == [
            ("a,b,0.png", "A\u2028B", 2),
            ("a,b,1.png", "A\u2028B", 3),
        ]


# --- what it says before it spends ---------------------------------------------------------------


def put_job(
    shell: Shell,
    file: Path,
    status: JobStatus,
    settings: Settings,
    *,
    bucket: str = PHOTOS,
) -> None:
    """Write the job that a drop of this file would make."""
    key = str(file)
    etag = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    job_id = job_id_of(
        bucket=bucket,
        key=key,
        etag=etag,
        settings=settings.identity,
        mask_etag=None,
        request_id=None,
    )
    there = Photo(bucket=bucket, key=key, etag=etag)
    shell.job(job_id, status, source_key=key, photo=there, settings=settings)


def test_question_names_what_is_made(shell: Shell, photo: Callable[..., Path]) -> None:
    """The question has model, background, images, the number of done jobs, and the price."""
    for number in range(14):
        photo(f"shop/{number}.png")
    settings = Settings(model_id="004", scene_type=SceneType.PRESET, scene_id="035", batch_size=2)
    for number, status in ((0, JobStatus.SUCCEEDED), (1, JobStatus.RUNNING), (2, JobStatus.FAILED)):
        put_job(shell, Path(f"shop/{number}.png"), status, settings)
    words = ("drop", "shop", "--model", "mia", "--scene", "preset:035", "--images", "2")
    code, out, _ = shell(*words, says="n\n")
    assert code == 1
    assert "Settings: Mia, scene 035, 2 images each." in out
    assert "2 of 14 jobs are done or under way already and cost nothing." in out
    assert "Go on with Mia, scene 035, 2 images each, and spend 12 credits?" in out
    code, out, _ = shell(*words, "--request-id", "anew", says="n\n")
    assert (code, "done or under way" in out) == (1, False)
    for more in (["--images", "3"], ["--model", "clara"]):
        assert "done or under way" not in shell(*words, *more, "--dry-run")[1]
    photo("shop/0.png", png(padding=99))
    assert "1 of 14 jobs is done or under way already" in shell(*words, "--dry-run")[1]
    photo("shop/1.mask.png")
    assert "done or under way" not in shell(*words, "--dry-run")[1]


def test_a_mask_in_the_bucket_makes_a_new_job(shell: Shell, photo: Callable[..., Path]) -> None:
    """A photo whose mask is only in the bucket is not counted as done, because its job is new."""
    settings = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
    put_job(shell, photo("shop/a.png"), JobStatus.SUCCEEDED, settings)
    words = ("drop", "shop", "--dry-run")
    assert "1 of 1 job is done or under way already" in shell(*words)[1]
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="shop/cut.png", Body=png())
    assert "done or under way" not in shell(*words, "--mask", "shop/cut.png")[1]
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="shop/a.mask.png", Body=png())
    assert "done or under way" not in shell(*words)[1]


def test_only_the_same_job_is_counted_as_done(shell: Shell, photo: Callable[..., Path]) -> None:
    """Settings that Python compares as equal, and photos of other buckets, are other jobs."""
    file = photo("shop/a.png")
    settings = Settings(
        model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4, extra={"seed": 1}
    )
    words = ("drop", "shop", "--dry-run", "--extra")
    put_job(shell, file, JobStatus.SUCCEEDED, settings, bucket="another")
    assert "done or under way" not in shell(*words, '{"seed": 1}')[1]
    put_job(shell, file, JobStatus.SUCCEEDED, settings)
    assert "1 of 1 job is done or under way" in shell(*words, '{"seed": 1}')[1]
    assert "done or under way" not in shell(*words, '{"seed": true}')[1]


def test_drop_without_the_right_to_look(
    shell: Shell, photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who may only upload can do so, although jobs and masks cannot be looked up."""
    photo("a.png")

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "No."}}, "Query")

    monkeypatch.setattr(JobRepository, "of_source", refuse)
    assert shell("drop", "a.png")[0] == 0
    assert shell.uploaded() == ["a.png"]


def test_several_settings(shell: Shell, photo: Callable[..., Path]) -> None:
    """Variants and tables name up to three settings, and count more."""
    photo("shop/a.png")
    photo("shop/b.png")
    photo("t.csv", "name,model\na.png,mia\n")
    out = shell("drop", "shop", "--table", "t.csv", "--dry-run")[1]
    assert "1 x Mia, own background, 4 images; 1 x Clara, own background, 4 images" in out
    variants = [{"modelId": model} for model in ("001", "002", "003", "004")]
    photo("shop/catwalk.json", json.dumps({"variants": variants}))
    assert "Settings: 4 different settings." in shell("drop", "shop", "--dry-run")[1]
