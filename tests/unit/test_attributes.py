"""Conversion of a record's values to DynamoDB's JSON and back."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from shared.models import JobStatus
from shared.records.attributes import from_attribute, to_attribute

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -3,
    10**37,
    "",
    "text",
    [],
    {},
    {"a": [1, {"b": None}], "c": "d"},
    {"one"},
    frozenset({"one"}),
]


@pytest.mark.parametrize("value", VALUES)
def test_values_are_written_as_boto3_writes_them(value: Any) -> None:
    """The conversion gives the same JSON as boto3's serializer."""
    assert to_attribute(value) == TypeSerializer().serialize(value)


@pytest.mark.parametrize("value", [*VALUES, 0.1, -2.5e-7, 1e20, ["a", 1.5]])
def test_what_was_written_is_read_again(value: Any) -> None:
    """Values are the same after both conversions."""
    assert from_attribute(to_attribute(value)) == value


@pytest.mark.parametrize(
    "attribute",
    [{"SS": ["a", "b"]}, {"NS": ["1", "2.5"]}, {"B": b"x"}, {"BS": [b"x"]}, {"N": "1E+2"}],
)
def test_whatever_somebody_added_to_a_record_is_read(attribute: Any) -> None:
    """An attribute of a type that Catwalk never writes breaks no record."""
    assert from_attribute(attribute) == TypeDeserializer().deserialize(attribute)


def test_numbers_are_plain_ones() -> None:
    """Whole numbers become int, others float; there is no Decimal."""
    assert [type(from_attribute({"N": text})) for text in ("2", "2.0", "2.5")] == [int, int, float]


def test_an_enum_is_written_as_its_text() -> None:
    """A status in the table is plain text."""
    assert type(to_attribute(JobStatus.RUNNING)["S"]) is str


@pytest.mark.parametrize("value", [10**38 + 1, Decimal("1E-200"), float("inf"), float("nan")])
def test_a_number_is_never_rounded(value: float | Decimal) -> None:
    """A number that DynamoDB cannot hold exactly is refused."""
    with pytest.raises((ArithmeticError, TypeError)):
        to_attribute(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_no_record_holds_is_refused(value: object) -> None:
    """A value of another type is an error."""
    with pytest.raises(TypeError, match="no type"):
        to_attribute(value)


def test_an_unknown_type_is_refused() -> None:
    """DynamoDB's types are a closed list."""
    with pytest.raises(TypeError, match="no type X"):
        from_attribute({"X": "1"})
