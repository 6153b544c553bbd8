"""Makes moto faster without changing its answers.

botocore signs each call and turns it into an HTTP request, which moto parses again. moto also walks
the tree of an update expression once from each of its nodes, parses each expression several times,
and searches each attribute value for all ten possible members. The tests make tens of thousands of
calls, and would spend much of their time there.
"""

import functools
import pickle
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from types import CodeType
from typing import Any, Final

import botocore.useragent
import httpx
import httpx._transports.default
import jinja2
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
"""The services that the tests call."""
SMALL: Final = 100_000
"""The exact size of an item matters from here on; DynamoDB's limit is 400 KB."""
_HANDLERS: Final[Mapping[str, type[BaseResponse]]] = {
    "dynamodb": DynamoHandler,
    "events": EventsHandler,
    "secretsmanager": SecretsManagerResponse,
    "sqs": SQSResponse,
    "stepfunctions": StepFunctionResponse,
}
"""moto's classes for the services whose calls have a JSON body."""
_READ_STRUCTURE: Final[Any] = BaseJSONParser._parse_structure
_WRITE_STRUCTURE: Final = ResponseSerializer._serialize_type_structure
_GET_VALUE: Final = ResponseSerializer.get_value
_SET_LIMITED: Final = LimitedSizeDict.__setitem__
_UNIX_TIME: Final = moto.core.utils.unix_time
_SEND: Final[Any] = vars(Endpoint)["_send_request"]
_URLS: Final = vars(BaseBackend)["urls"].fget
_COMPILE: Final[Any] = jinja2.Environment.compile
_urls_of: Final[dict[type, Any]] = {}
_templates: Final[dict[tuple[str, str, str], CodeType]] = {}
_snake: Final = functools.cache(camelcase_to_underscores)
_is_kind: Final[Callable[[type, type], bool]] = functools.cache(issubclass)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Replace slow parts of moto, botocore, httpx and jinja2 until the patch is undone."""
    _quicken_calls(patch)
    _quicken_expressions(patch)
    # moto registers its 1,300 URL patterns with `requests` at each start. Nothing here uses
    # `requests`, and without the patterns a call of it is refused.
    patch.setattr(MockAWS, "_enable_patching", _start)
    # Without this, each client reads all certificates of the machine.
    context = functools.cache(httpx.create_ssl_context)
    for module in (httpx, httpx._transports.default):
        patch.setattr(module, "create_ssl_context", context)
    # Each test makes a gallery of its own, which would compile its templates again.
    patch.setattr(jinja2.Environment, "compile", _compile_template)


def _compile_template(self: jinja2.Environment, source: str, name: str, filename: str) -> CodeType:
    """Compile a template once; all environments here have the same options."""
    key = source, name, filename
    if key not in _templates:
        _templates[key] = _COMPILE(self, *key)
    return _templates[key]


def _quicken_calls(patch: pytest.MonkeyPatch) -> None:
    """Speed up how a call is dispatched, parsed and answered."""
    modules = tuple(moto.backends.list_of_moto_modules())
    patch.setattr(moto.backends, "list_of_moto_modules", lambda: modules)
    # moto parses the JSONPaths of EventBridge's patterns for each event.
    patch.setattr("jsonpath_ng.ext.parse", functools.cache(parser.parse))
    # A queue asks for the time three times for each message of each call.
    patch.setattr(moto.core.utils, "unix_time", _unix_time)
    # moto compares a call with the URLs of all services until one matches.
    services = sorted(backend_index.backend_url_patterns, key=lambda entry: entry[0] not in USED)
    patch.setattr(backend_index, "backend_url_patterns", services)
    # moto builds a service's URLs and method names for each call.
    patch.setattr(BaseBackend, "urls", property(_urls))
    for name in ("method_names_from_class", "camelcase_to_underscores"):
        patch.setattr(
            moto.core.responses, name, functools.cache(getattr(moto.core.responses, name))
        )
    # Without this, botocore signs each call and moto turns it into a web server's request.
    patch.setattr(Endpoint, "_send_request", _send)
    # botocore checks 30 parts of its user agent for each call, character by character.
    sanitize = functools.cache(botocore.useragent.sanitize_user_agent_string_component)
    patch.setattr(botocore.useragent, "sanitize_user_agent_string_component", sanitize)
    patch.setattr(BaseJSONParser, "_parse_structure", _read_structure)
    patch.setattr(ResponseSerializer, "_serialize_type_structure", _write_structure)
    patch.setattr(ResponseSerializer, "get_value", _value)


def _quicken_expressions(patch: pytest.MonkeyPatch) -> None:
    """Parse each expression once, and walk its tree once for each check."""
    patch.setattr(DepthFirstTraverser, "traverse", _traverse)
    # A check of the root finds every error below it.
    for validator in (validators.OverlappingPathsValidator, validators.ActionCountValidator):
        patch.setattr(validator, "traverse", DepthFirstTraverser.process)
    # Validators change only a copy of the parsed tree; pickle copies it faster than deepcopy.
    patch.setattr(UpdateExpressionParser, "make", functools.cache(UpdateExpressionParser.make))
    pickled = functools.cache(pickle.dumps)
    copy: Callable[[Any], Any] = validators.deepcopy

    def copied(value: Any) -> Any:
        if type(value) is UpdateExpression:
            return pickle.loads(pickled(value))  # noqa: S301  this process pickled it
        return copy(value)

    patch.setattr(validators, "deepcopy", copied)
    # moto builds the patterns of its lexer for each word of a condition.
    lex = ConditionExpressionParser._lex_one_node
    known = functools.cache(lambda text: lex(ConditionExpressionParser(None, None, None), text))
    patch.setattr(ConditionExpressionParser, "_lex_one_node", lambda _, text: known(text))
    # moto adds up the size of the whole item for each attribute that is set.
    patch.setattr(LimitedSizeDict, "__setitem__", _set_limited)


def _start(mock: MockAWS, reset: bool = True) -> None:
    """Start to answer botocore's calls; replaces `MockAWS._enable_patching`."""
    botocore_stubber.enabled = True
    if reset:
        mock.reset()
    responses_mock.start()


def _unix_time(moment: datetime | None = None) -> float:
    """Return a time, or the present time, in seconds since 1970."""
    return time.time() if moment is None else _UNIX_TIME(moment)


def _urls(backend: Any) -> Any:
    """Return the URLs of a service and their handlers."""
    if type(backend) not in _urls_of:
        _urls_of[type(backend)] = _URLS(backend)
    return _urls_of[type(backend)]


def _send(endpoint: Any, request: Mapping[str, Any], operation: Any) -> Any:
    """Let moto answer a call; a call with a JSON body goes to its handler without HTTP."""
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
    """Return moto's status, headers and body, as `BaseResponse.dispatch` does."""
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
    """Parse a structure of a request; an attribute value has one of ten possible members."""
    if shape.name == "AttributeValue" and len(value) == 1:
        return _attribute(value, parser._blob_parser)
    return _READ_STRUCTURE(parser, shape, value)


def _write_structure(serializer: Any, written: Any, value: Any, shape: Any, key: str) -> None:
    """Serialize a structure of an answer; an attribute value has one of ten possible members."""
    if shape.name == "AttributeValue" and key and type(value) is dict and len(value) == 1:
        serializer._default_serialize(written, _attribute(value, serializer._base64), shape, key)
    else:
        _WRITE_STRUCTURE(serializer, written, value, shape, key)


def _value(serializer: Any, value: Any, key: str, shape: Any) -> Any:
    """Return a member of an answer; DynamoDB's members have no alternative names."""
    if type(value) is dict and serializer.operation_model.service_model.service_name == "dynamodb":
        return value.get(key)
    return _GET_VALUE(serializer, value, key, shape)


def _attribute(value: Mapping[str, Any], blob: Callable[[Any], Any]) -> dict[str, Any]:
    """Return an attribute value of DynamoDB with its binary content converted by `blob`."""
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
    """Set an attribute of an item; the exact size is computed only if the item may be large."""
    if not hasattr(item, "most"):  # it is new or a copy
        item.most = sum(_size(part) for entry in item.items() for part in entry)
    item.most += _size(key) + _size(value)  # an upper bound: a replaced value is not subtracted
    if item.most < SMALL:
        dict.__setitem__(item, key, value)
    else:
        _SET_LIMITED(item, key, value)


def _size(part: Any) -> int:
    return part.size() if type(part) is DynamoType else bytesize(str(part))


def _traverse(traverser: Any, root: Node) -> Node:
    """Process the nodes of a tree, children first."""
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
