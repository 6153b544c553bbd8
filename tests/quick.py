"""The AWS doubles, quicker, with the same answers.

moto asks abstract base classes what each node of an update's expression is, looks at all of a tree
from each of its nodes, and searches every answer for attributes by other names. With a few
thousand calls that is much of what the tests take.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

import httpx
import httpx._transports.default
import moto.backends
import pytest
from moto import backend_index
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node

USED: Final = ("dynamodb", "events", "s3", "secretsmanager", "sqs", "stepfunctions")
"""The services that nearly all calls go to."""
_GET_VALUE: Final = ResponseSerializer.get_value
_is_kind: Final = functools.cache(issubclass)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Have moto and httpx do what they do in less time, until the patch is undone."""
    patch.setattr(ResponseSerializer, "get_value", _value)
    patch.setattr(DepthFirstTraverser, "traverse", _traverse)
    # What is wrong below a node of the tree is found at its root as well.
    for validator in (validators.OverlappingPathsValidator, validators.ActionCountValidator):
        patch.setattr(validator, "traverse", DepthFirstTraverser.process)
    modules = tuple(moto.backends.list_of_moto_modules())
    patch.setattr(moto.backends, "list_of_moto_modules", lambda: modules)
    # A call is compared with the addresses of all services, in turn, until one fits.
    services = sorted(backend_index.backend_url_patterns, key=lambda entry: entry[0] not in USED)
    patch.setattr(backend_index, "backend_url_patterns", services)
    # Each client would read all certificates of the machine anew.
    context = functools.cache(httpx.create_ssl_context)
    for module in (httpx, httpx._transports.default):
        patch.setattr(module, "create_ssl_context", context)


def _value(serializer: Any, value: Any, key: str, shape: Any) -> Any:
    """Take an attribute of an answer; DynamoDB's have no other names."""
    if type(value) is dict and serializer.operation_model.service_model.service_name == "dynamodb":
        return value.get(key)
    return _GET_VALUE(serializer, value, key, shape)


def _traverse(traverser: Any, root: Node) -> Node:
    """Process a tree's nodes, children first."""
    processors: Mapping[type[Node], Any] = traverser._processing_map()

    def visit(node: Any, place: int) -> Any:
        if not _is_kind(type(node), Node):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, number)
            visit(child, number)
        for kind, process in processors.items():
            if _is_kind(type(node), kind):
                node = process(node)
                node.parent = parent
                if parent:
                    parent.children[place] = node
                break
        return node

    return visit(root, -1)
