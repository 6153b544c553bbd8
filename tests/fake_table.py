"""A fake DynamoDB table with one item, for tests that write very often.

It answers in microseconds, and supports only the expressions of the circuit breaker.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

_TOKENS: Final = re.compile(r"[\w:#]+|[<>]=|[<>=+\-(),]")
_CLAUSES: Final = re.compile(r"\b(SET|ADD|REMOVE) ")
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


class ConditionalCheckFailedException(Exception):
    """The condition does not hold."""


class OneItem:
    """A DynamoDB client whose table is empty at first."""

    class exceptions:  # noqa: N801  botocore's name
        """The exceptions of the client, as in botocore."""

        ConditionalCheckFailedException = ConditionalCheckFailedException

    def __init__(self) -> None:
        self.item: dict[str, Any] = {}

    def get_item(self, **_: Any) -> dict[str, Any]:
        """Return the item."""
        return {"Item": dict(self.item)} if self.item else {}

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        """Change the item if the condition holds."""
        expression = _Expression(self.item, arguments)
        condition = arguments.get("ConditionExpression")
        if condition and not expression.holds(condition):
            raise ConditionalCheckFailedException
        before, self.item = self.item, expression.updated(arguments["UpdateExpression"])
        return {"Attributes": before if arguments.get("ReturnValues") == "ALL_OLD" else self.item}

    def delete_item(self, **_: Any) -> None:
        """Remove the item."""
        self.item = {}


class _Expression:
    def __init__(self, item: dict[str, Any], arguments: dict[str, Any]) -> None:
        self._item = item
        self._key = arguments["Key"]
        self._names = arguments.get("ExpressionAttributeNames", {})
        self._values = arguments.get("ExpressionAttributeValues", {})
        self._tokens: list[str] = []

    def holds(self, condition: str) -> bool:
        self._tokens = _TOKENS.findall(condition)
        return self._any()

    def updated(self, update: str) -> dict[str, Any]:
        item = {**self._key, **self._item}
        _, *parts = _CLAUSES.split(update)
        for clause, text in zip(parts[::2], parts[1::2], strict=True):
            self._tokens = _TOKENS.findall(text)
            for name in self._listed():
                if clause == "REMOVE":
                    item.pop(name, None)
                elif clause == "ADD":
                    item[name] = _wire(self._plain(name, Decimal(0)) + self._operand())
                else:
                    self._next("=")
                    value = self._operand()
                    if self._tokens[:1] in (["+"], ["-"]):
                        sign = 1 if self._next() == "+" else -1
                        value += sign * self._operand()
                    item[name] = _wire(value)
        return item

    def _listed(self) -> Iterator[str]:
        while self._tokens:
            yield self._name(self._next())
            if self._tokens:
                self._next(",")

    def _any(self) -> bool:
        holds = self._all()
        while self._tokens[:1] == ["OR"]:
            self._next()
            holds = self._all() or holds
        return holds

    def _all(self) -> bool:
        holds = self._one()
        while self._tokens[:1] == ["AND"]:
            self._next()
            holds = self._one() and holds
        return holds

    def _one(self) -> bool:
        if self._tokens[0] == "(":
            self._next()
            holds = self._any()
            self._next(")")
            return holds
        if self._tokens[0] in {"attribute_exists", "attribute_not_exists"}:
            wanted = self._next() == "attribute_exists"
            self._next("(")
            there = self._name(self._next()) in self._item
            self._next(")")
            return there is wanted
        left = self._operand()
        comparison = self._next()
        right = self._operand()
        if comparison == "BETWEEN":
            self._next("AND")
            return left is not None and right <= left <= self._operand()
        return left is not None and _COMPARISONS[comparison](left, right)

    def _operand(self) -> Any:
        token = self._next()
        if token == "if_not_exists":
            self._next("(")
            name = self._name(self._next())
            self._next(",")
            other = self._operand()
            self._next(")")
            return self._plain(name, other)
        if token.startswith(":"):
            return _plain(self._values[token])
        return self._plain(self._name(token), None)

    def _plain(self, name: str, default: Any) -> Any:
        return _plain(self._item[name]) if name in self._item else default

    def _name(self, token: str) -> str:
        return str(self._names[token]) if token.startswith("#") else token

    def _next(self, expected: str | None = None) -> str:
        token = self._tokens.pop(0)
        assert expected in {None, token}, f"{token} in place of {expected}"
        return token


def _plain(value: dict[str, str]) -> Decimal | str:
    return Decimal(value["N"]) if "N" in value else value["S"]


def _wire(value: Decimal | str) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}
