"""DynamoDB's wire form of values (`{"N": "1"}`, `{"L": [{"S": "a"}]}`), and the conditional write.

boto3 can convert values too, but importing it takes as long as making a client.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NUMBERS: Final = Context(
    # The numbers that DynamoDB holds exactly. Any other number raises; none is rounded.
    prec=38,
    Emin=-128,
    Emax=126,
    traps=[Clamped, Inexact, Overflow, Rounded, Underflow],
)


def to_attribute(value: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON value, a set of strings
    """Return a value in DynamoDB's wire form.

    Raises:
        TypeError: DynamoDB has no type for it.
        ArithmeticError: DynamoDB cannot hold the number exactly.

    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}  # also the member of a StrEnum
        case int() | float() | Decimal():
            return {"N": _number(value)}
        case Mapping():
            return {"M": {name: to_attribute(entry) for name, entry in value.items()}}
        case list() | tuple():
            return {"L": [to_attribute(entry) for entry in value]}
        case AbstractSet() if all(isinstance(entry, str) for entry in value):
            return {"SS": [str(entry) for entry in value]}
    raise TypeError(f"DynamoDB has no type for a {type(value).__name__}")


def from_attribute(attribute: Mapping[str, Any]) -> Any:  # noqa: ANN401  any JSON value, a set
    """Return the value of DynamoDB's wire form; whole numbers are int, others float.

    Raises:
        TypeError: DynamoDB has no such type.

    """
    ((kind, content),) = attribute.items()
    match kind:
        case "S" | "BOOL" | "B":
            return content
        case "N":
            return _plain_number(content)
        case "M":
            return {name: from_attribute(entry) for name, entry in content.items()}
        case "L":
            return [from_attribute(entry) for entry in content]
        case "SS" | "BS":
            return set(content)
        case "NS":
            return {_plain_number(entry) for entry in content}
        case "NULL":
            return None
    raise TypeError(f"DynamoDB has no type {kind}")


def item_of(error: ClientError) -> Mapping[str, Any]:
    """Return the item for which a condition failed.

    It is empty if there is no item, or if the write did not ask for it
    (`ReturnValuesOnConditionCheckFailure`).
    """
    response: Mapping[str, Any] = {**error.response}
    item: Mapping[str, Any] = response.get("Item", {})
    return item


def update_if(
    dynamodb: "DynamoDBClient",
    table: str,
    key: Any,  # noqa: ANN401  the client's wire form of a key
    *,
    update: str,
    condition: str,
    values: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    returns: Literal["NONE", "ALL_NEW", "ALL_OLD"] = "NONE",
) -> Mapping[str, Any] | None:
    """Update an item if a condition holds.

    Args:
        dynamodb: the client.
        table: the table's name.
        key: the item's key.
        update: the update expression.
        condition: the condition expression.
        values: the values of both expressions, in the wire form.
        names: the attribute names of both expressions.
        returns: which attributes are returned.

    Returns:
        The attributes that `returns` names. None if the condition does not hold and nothing was
        written.

    """
    optional: dict[str, Any] = {}
    if values:
        optional["ExpressionAttributeValues"] = values
    if names:
        optional["ExpressionAttributeNames"] = names
    if returns != "NONE":
        optional["ReturnValues"] = returns
    try:
        answer = dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression=update,
            ConditionExpression=condition,
            **optional,
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return None
    return answer.get("Attributes", {})


def _number(value: float | Decimal) -> str:
    number = _NUMBERS.create_decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise TypeError(f"DynamoDB has no number {value}")
    return str(number)


def _plain_number(text: str) -> int | float:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)
