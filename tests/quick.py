"""The AWS doubles, quicker, with the same answers.

moto asks abstract base classes what each node of an update's expression is, looks at all of a tree
from each of its nodes, parses each expression several times, and searches every attribute value for
members that it does not have. With a few thousand calls that is much of what the tests take.
"""

import functools
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

import botocore.useragent
import httpx
import httpx._transports.default
import moto.backends
import moto.core.responses
import pytest
from botocore.auth import SigV4Auth
from moto import backend_index
from moto.core.base_backend import BaseBackend
from moto.core.models import MockAWS, botocore_stubber, responses_mock
from moto.core.parse import BaseJSONParser
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models.dynamo_type import DynamoType, LimitedSizeDict
from moto.dynamodb.models.utilities import bytesize
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node, UpdateExpression
from moto.dynamodb.parsing.expressions import UpdateExpressionParser

USED: Final = ("dynamodb", "events", "s3", "secretsmanager", "sqs", "stepfunctions")
"""The services that nearly all calls go to."""
SMALL: Final = 100_000
"""An item of fewer bytes is far from DynamoDB's limit of 400 KB."""
_READ_STRUCTURE: Final[Any] = BaseJSONParser._parse_structure
_WRITE_STRUCTURE: Final = ResponseSerializer._serialize_type_structure
_GET_VALUE: Final = ResponseSerializer.get_value
_SET_LIMITED: Final = LimitedSizeDict.__setitem__
_CANONICAL_REQUEST: Final = SigV4Auth.canonical_request
_SIGNATURE: Final = SigV4Auth.signature
_URLS: Final = vars(BaseBackend)["urls"].fget
_urls_of: Final[dict[type, Any]] = {}
_is_kind: Final[Callable[[type, type], bool]] = functools.cache(issubclass)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Have moto and httpx do what they do in less time, until the patch is undone."""
    _quicken_calls(patch)
    _quicken_expressions(patch)
    # moto registers its 1,300 URL patterns for `requests` at each start. Nothing here uses
    # `requests`; a call of it is refused, since no pattern fits.
    patch.setattr(MockAWS, "_enable_patching", _start)
    # Each client would read all certificates of the machine anew.
    context = functools.cache(httpx.create_ssl_context)
    for module in (httpx, httpx._transports.default):
        patch.setattr(module, "create_ssl_context", context)


def _quicken_calls(patch: pytest.MonkeyPatch) -> None:
    """Find the code for a call, read its request and write its answer in less time."""
    modules = tuple(moto.backends.list_of_moto_modules())
    patch.setattr(moto.backends, "list_of_moto_modules", lambda: modules)
    # A call is compared with the addresses of all services, in turn, until one fits.
    services = sorted(backend_index.backend_url_patterns, key=lambda entry: entry[0] not in USED)
    patch.setattr(backend_index, "backend_url_patterns", services)
    # A service's addresses and the names of its methods are put together anew for each call.
    patch.setattr(BaseBackend, "urls", property(_urls))
    for name in ("method_names_from_class", "camelcase_to_underscores"):
        patch.setattr(
            moto.core.responses, name, functools.cache(getattr(moto.core.responses, name))
        )
    # moto does not look at signatures.
    patch.setattr(SigV4Auth, "canonical_request", _canonical_request)
    patch.setattr(SigV4Auth, "signature", _signature)
    # botocore checks 30 parts of its user agent at each call, character by character.
    sanitize = functools.cache(botocore.useragent.sanitize_user_agent_string_component)
    patch.setattr(botocore.useragent, "sanitize_user_agent_string_component", sanitize)
    patch.setattr(BaseJSONParser, "_parse_structure", _read_structure)
    patch.setattr(ResponseSerializer, "_serialize_type_structure", _write_structure)
    patch.setattr(ResponseSerializer, "get_value", _value)


def _quicken_expressions(patch: pytest.MonkeyPatch) -> None:
    """Parse an update's expression once, and go through its tree once a check."""
    patch.setattr(DepthFirstTraverser, "traverse", _traverse)
    # What is wrong below a node of the tree is found at its root as well.
    for validator in (validators.OverlappingPathsValidator, validators.ActionCountValidator):
        patch.setattr(validator, "traverse", DepthFirstTraverser.process)
    # The parsed tree is only read: a validator changes a copy, which pickle makes quicker.
    patch.setattr(UpdateExpressionParser, "make", functools.cache(UpdateExpressionParser.make))
    pickled = functools.cache(pickle.dumps)
    copy: Callable[[Any], Any] = validators.deepcopy

    def copied(value: Any) -> Any:
        if type(value) is UpdateExpression:
            return pickle.loads(pickled(value))  # noqa: S301  this process pickled it
        return copy(value)

    patch.setattr(validators, "deepcopy", copied)
    # The patterns that a condition is split by are built for each of its words.
    lex = ConditionExpressionParser._lex_one_node
    known = functools.cache(lambda text: lex(ConditionExpressionParser(None, None, None), text))
    patch.setattr(ConditionExpressionParser, "_lex_one_node", lambda _, text: known(text))
    # An item's size is added up anew for each attribute that is set.
    patch.setattr(LimitedSizeDict, "__setitem__", _set_limited)


def _start(mock: MockAWS, reset: bool = True) -> None:
    """Answer botocore's calls from now on."""
    botocore_stubber.enabled = True
    if reset:
        mock.reset()
    responses_mock.start()


def _urls(backend: Any) -> Any:
    """Return the addresses of a service, and what is called there."""
    if type(backend) not in _urls_of:
        _urls_of[type(backend)] = _URLS(backend)
    return _urls_of[type(backend)]


def _canonical_request(auth: Any, request: Any) -> str:
    """Return what is signed; nothing for DynamoDB, which gets most calls."""
    return "" if auth._service_name == "dynamodb" else str(_CANONICAL_REQUEST(auth, request))


def _signature(auth: Any, text: str, request: Any) -> str:
    """Sign a request."""
    return "0" * 64 if auth._service_name == "dynamodb" else str(_SIGNATURE(auth, text, request))


def _read_structure(parser: Any, shape: Any, value: Any) -> Any:
    """Read a structure of a request. An attribute value has one of its shape's ten members."""
    if shape.name == "AttributeValue" and len(value) == 1:
        return _attribute(value, parser._blob_parser)
    return _READ_STRUCTURE(parser, shape, value)


def _write_structure(serializer: Any, written: Any, value: Any, shape: Any, key: str) -> None:
    """Write a structure of an answer. An attribute value has one of its shape's ten members."""
    if shape.name == "AttributeValue" and key and type(value) is dict and len(value) == 1:
        serializer._default_serialize(written, _attribute(value, serializer._base64), shape, key)
    else:
        _WRITE_STRUCTURE(serializer, written, value, shape, key)


def _value(serializer: Any, value: Any, key: str, shape: Any) -> Any:
    """Take a member of an answer; DynamoDB's have no other names."""
    if type(value) is dict and serializer.operation_model.service_model.service_name == "dynamodb":
        return value.get(key)
    return _GET_VALUE(serializer, value, key, shape)


def _attribute(value: Mapping[str, Any], blob: Callable[[Any], Any]) -> dict[str, Any]:
    """Return DynamoDB's attribute value with its binary content changed by `blob`."""
    ((kind, content),) = value.items()
    match kind:
        case "M":
            content = {name: _attribute(member, blob) for name, member in content.items()}
        case "L":
            content = [_attribute(member, blob) for member in content]
        case "B":
            content = blob(content)
        case "BS":
            content = [blob(member) for member in content]
    return {kind: content}


def _set_limited(item: Any, key: str, value: Any) -> None:
    """Set an attribute of an item. Only that of an item that may be large needs its exact size."""
    if not hasattr(item, "most"):  # new, or a copy
        item.most = sum(_size(part) for entry in item.items() for part in entry)
    item.most += _size(key) + _size(value)  # what it replaces may have been as large
    if item.most < SMALL:
        dict.__setitem__(item, key, value)
    else:
        _SET_LIMITED(item, key, value)


def _size(part: Any) -> int:
    return part.size() if type(part) is DynamoType else bytesize(str(part))


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
