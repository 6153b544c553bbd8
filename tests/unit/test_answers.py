"""The table of the vendor's answers, in the code and in docs/vendor-answers.md."""

from pathlib import Path
from typing import Any

import pytest

from shared.vmake.answers import ROWS, UNKNOWN, WORDS, Answer, Row, Trouble, meaning

PAGE = Path(__file__).parents[2] / "docs" / "vendor-answers.md"


def _numbers(row: Row) -> str:
    if row.status is not None:
        return f"HTTP {row.status.start // 100}xx"
    if row.numbers is None:
        return "any"
    fives = set(range(500, 600)) - {503}
    if row.numbers == fives:
        return "5xx but 503"
    return ", ".join(map(str, sorted(row.numbers)))


def _table() -> list[str]:
    envelopes = {None: "any", True: "yes", False: "no"}
    lines = ["| | task id | status or code | envelope | words | means | because |"]
    lines.append("|---|---|---|---|---|---|---|")
    for number, row in enumerate(ROWS, start=1):
        cells = [
            str(number),
            row.task_id or "any",
            _numbers(row),
            envelopes[row.envelope],
            row.words or "any",
            f"`{row.means}`",
            row.why,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _phrases() -> list[str]:
    escaped = {name: words.pattern.replace("|", r"\|") for name, words in WORDS.items()}
    return [
        "| words | pattern |",
        "|---|---|",
        *(f"| {name} | `{pattern}` |" for name, pattern in escaped.items()),
    ]


@pytest.mark.parametrize("table", [_table(), _phrases()], ids=["answers", "words"])
def test_the_document_has_the_table_of_the_code(table: list[str]) -> None:
    """The table in the document is the table in the code."""
    text = "\n".join(table)
    assert text in PAGE.read_text(), f"docs/vendor-answers.md must hold:\n{text}"


def test_each_word_is_used() -> None:
    """Each group of phrases is used by a row, and each row's group exists."""
    assert {row.words for row in ROWS} - {None} == WORDS.keys()


def test_each_meaning_has_a_sentence_in_the_document() -> None:
    """The page says for each class what happens to the photo."""
    text = PAGE.read_text()
    assert [name for name in {str(row.means) for row in ROWS} if f"- `{name}`:" not in text] == []


def test_what_no_row_describes_is_unknown() -> None:
    """Only the last row matches every answer."""
    assert ROWS[-1] == Row(UNKNOWN, ROWS[-1].why)
    assert all(row != Row(row.means, row.why) for row in ROWS[:-1])


CASES: list[tuple[dict[str, Any], object]] = [
    ({"task_id": "usable"}, "accepted"),
    ({"task_id": "unusable", "status": 429, "code": 429}, UNKNOWN),
    ({"status": 302, "code": None}, UNKNOWN),
    ({"code": None}, UNKNOWN),
    ({"code": 0}, UNKNOWN),
    ({"status": 500}, UNKNOWN),
    ({"status": 503, "code": None}, UNKNOWN),
    ({"status": 408}, UNKNOWN),
    ({"status": 404, "message": "image download timed out"}, Trouble.REQUEST),
    ({"status": 403, "message": "system error"}, UNKNOWN),
    ({"status": 429}, Trouble.BUSY),
    ({"status": 503}, Trouble.BUSY),
    ({"message": "service is overloaded"}, UNKNOWN),
    ({"message": "Insufficient account credits"}, Trouble.CREDITS),
    ({"message": "bad API key"}, Trouble.KEY),
    ({"status": 403, "message": "authentication needed"}, Trouble.KEY),
    ({"status": 402, "message": "insufficient image resolution"}, Trouble.DENIED),
    ({"status": 401}, Trouble.KEY),
    ({"status": 402}, Trouble.CREDITS),
    ({"status": 403, "code": None}, Trouble.DENIED),
    ({"status": 404, "code": None}, Trouble.ADDRESS),
    ({"status": 422, "code": None}, Trouble.REQUEST),
    ({"message": "task processing has failed for this image"}, UNKNOWN),
    ({"message": "insufficient image resolution"}, Trouble.REQUEST),
    ({"status": 404}, Trouble.DENIED),
    ({}, UNKNOWN),
]


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_each_row_can_match(number: int) -> None:
    """For each row there is an answer that it matches first."""
    given, means = CASES[number]
    answer = Answer(**{"status": 200, "code": 7, "message": "", **given})
    first = next(index for index, row in enumerate(ROWS) if row.matches(answer))
    assert first == number
    assert meaning(answer) == means


@pytest.mark.parametrize(
    "message",
    [
        "insufficient image resolution",
        "the balance of colours in this image is not right",
        "no creditable garment in the image",
        "image low quality: not enough light",
        "image https://shop.example/no-credits.jpg?balance=insufficient%20credits is broken",
        "this model is no quotation",
    ],
)
def test_words_about_the_image_are_no_empty_account(message: str) -> None:
    """Messages about an image are not taken for an empty account because of single words."""
    assert meaning(Answer(200, 20018, message)) is Trouble.REQUEST


@pytest.mark.parametrize(
    "message",
    [
        "insufficient credits: top up the balance of your account",
        "Not enough credits",
        "you have no remaining credits",
        "INSUFFICIENT_BALANCE",
        "your balance is not enough",
        "credit balance exhausted",
        "quota exceeded",
        "subscription has expired",
        "payment required for this image",
    ],
)
def test_words_about_money_are_an_empty_account(message: str) -> None:
    """Several wordings of an empty account are recognized, since the vendor documents none."""
    assert meaning(Answer(200, 10402, message)) is Trouble.CREDITS
