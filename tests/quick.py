"""The AWS doubles, quicker, with the same answers.

botocore signs each call and makes an HTTP request of it, which moto takes apart again. moto also
asks abstract base classes what each node of an update's expression is, looks at all of a tree from
each of its nodes, parses each expression several times, and searches every attribute value for
members that it does not have. With ten thousands of calls that is much of what the tests take.
"""

import functools
import pickle
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import botocore.useragent
import httpx
import httpx._transports.default
import moto.backends
import moto.core.responses
import moto.core.utils
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.endpoint import Endpoint
from jsonpath_ng.ext import parser
from moto import backend_index
from moto.core.base_backend import BaseBackend
from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID, MockAWS, botocore_stubber, responses_mock
from moto.core.parse import BaseJSONParser
from moto.core.parse import JSONParser as RequestParser
from moto.core.responses import ActionResult, BaseResponse
from moto.core.serialize import ResponseSerializer
from moto.core.utils import camelcase_to_underscores
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models.dynamo_type import DynamoType, LimitedSizeDict
from moto.dynamodb.models.utilities import bytesize
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node, UpdateExpression
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler
from moto.events.responses import EventsHandler
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.sqs.responses import SQSResponse
from moto.stepfunctions.responses import StepFunctionResponse
from werkzeug.exceptions import HTTPException

USED: Final = ("dynamodb", "events", "s3", "secretsmanager", "sqs", "stepfunctions")
"""The services that nearly all calls go to."""
SMALL: Final = 100_000
"""An item of fewer bytes is far from DynamoDB's limit of 400 KB."""
_HANDLERS: Final[Mapping[str, type[BaseResponse]]] = {
    "dynamodb": DynamoHandler,
    "events": EventsHandler,
    "secretsmanager": SecretsManagerResponse,
    "sqs": SQSResponse,
    "stepfunctions": StepFunctionResponse,
}
"""Who answers the calls that have a JSON body."""
_READ_STRUCTURE: Final[Any] = BaseJSONParser._parse_structure
_WRITE_STRUCTURE: Final = ResponseSerializer._serialize_type_structure
_GET_VALUE: Final = ResponseSerializer.get_value
_SET_LIMITED: Final = LimitedSizeDict.__setitem__
_UNIX_TIME: Final = moto.core.utils.unix_time
_SEND: Final[Any] = vars(Endpoint)["_send_request"]
_URLS: Final = vars(BaseBackend)["urls"].fget
_urls_of: Final[dict[type, Any]] = {}
_snake: Final = functools.cache(camelcase_to_underscores)
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
    # EventBridge's patterns name their fields by JSONPath, which is parsed for each event.
    patch.setattr("jsonpath_ng.ext.parse", functools.cache(parser.parse))
    # A queue asks for the time thrice a message at each call.
    patch.setattr(moto.core.utils, "unix_time", _unix_time)
    # A call is compared with the addresses of all services, in turn, until one fits.
    services = sorted(backend_index.backend_url_patterns, key=lambda entry: entry[0] not in USED)
    patch.setattr(backend_index, "backend_url_patterns", services)
    # A service's addresses and the names of its methods are put together anew for each call.
    patch.setattr(BaseBackend, "urls", property(_urls))
    for name in ("method_names_from_class", "camelcase_to_underscores"):
        patch.setattr(
            moto.core.responses, name, functools.cache(getattr(moto.core.responses, name))
        )
    # botocore signs each call, and moto makes a web server's request of it.
    patch.setattr(Endpoint, "_send_request", _send)
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


def _unix_time(moment: datetime | None = None) -> float:
    """Return the seconds since 1970, now or at a moment."""
    return time.time() if moment is None else _UNIX_TIME(moment)


def _urls(backend: Any) -> Any:
    """Return the addresses of a service, and what is called there."""
    if type(backend) not in _urls_of:
        _urls_of[type(backend)] = _URLS(backend)
    return _urls_of[type(backend)]


def _send(endpoint: Any, request: Mapping[str, Any], operation: Any) -> Any:
    """Have moto answer a call. One with a JSON body is handed over as it is, without HTTP."""
    kind = _HANDLERS.get(operation.service_model.service_name)
    if kind is None or not (botocore_stubber.enabled and ".amazonaws.com" in endpoint.host):
        return _SEND(endpoint, request, operation)
    status, headers, body = _answer(kind(), request, operation)
    named: Any = HeadersDict(headers)
    answer = AWSResponse(endpoint.host, int(status), named, None)
    raw = {"status_code": answer.status_code, "headers": answer.headers, "body": body.encode()}
    reader = endpoint._response_parser_factory.create_parser("json")
    parsed = reader.parse(raw, operation.output_shape)
    if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
        endpoint._add_modeled_error_fields(raw, parsed, operation, reader)
    parsed["ResponseMetadata"]["RetryAttempts"] = 0
    return answer, parsed


def _answer(handler: Any, request: Mapping[str, Any], operation: Any) -> Any:
    """Return moto's status, headers and body, as its `BaseResponse.dispatch` does."""
    handler.uri, handler.headers = request["url"], request["headers"]
    handler.querystring, handler.uri_match, handler.response_headers = {}, {}, {}
    handler.region = request["context"]["client_region"]
    handler.current_account = DEFAULT_ACCOUNT_ID
    handler.body = request["body"].decode()
    if handler.automated_parameter_parsing:
        read: Any = {"body": request["body"], "headers": {}}
        handler.params = RequestParser(operation).parse(read)
    if isinstance(handler, DynamoHandler):
        handler.body = handler.params
    try:
        result = getattr(handler, _snake(operation.name))()
    except ServiceException as error:
        result = ActionResult(error)
    except HTTPException as error:
        return error.code, error.get_headers(), error.description
    if isinstance(result, ActionResult):
        return handler.serialized(result)
    return (200, {}, result) if isinstance(result, str) else handler._transform_response({}, result)


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
