"""What a route is: scopes, a body and an answer as wire models, in msgpack or JSON, documented in OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from faas import codec
from faas.errors import InvalidRequest, RequestRefused, TooLarge
from faas.models import MAX_BODY_BYTES, Model, Problem, Scope
from registry.identities import Principal
from router.service import Service

PROBLEM = "application/problem+json"

B = TypeVar("B")
Ticket = Literal["ticket"]
"""What workers have in place of a token, see ``faas.tickets``."""


@dataclass(frozen=True)
class Call(Generic[B]):
    """One request, authenticated and decoded."""

    request: Request
    service: Service
    principal: Principal
    body: B
    content_type: str

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query string."""
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number from the query string, held within bounds.

        Raises:
            InvalidRequest: it is no number.
        """
        text = self.request.query_params.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if value != value:
            raise InvalidRequest(f"{name} is {text!r}, which is no number.", field=name)
        return min(max(value, least), most)

    async def raw(self) -> bytes:
        """The body as it came, for routes whose bodies are others' own.

        Raises:
            TooLarge: it is over the limit of bodies.
        """
        return await _read(self.request)


Handler = Callable[[Call[Any]], Awaitable[Any]]


class Routes:
    """Collects the routes of one noun.

    Each stands twice: in ``documented`` for OpenAPI, and in ``served`` as a plain route, for FastAPI's own way to
    it, with dependencies, validation and limits of which none is used here, takes longer than most handlers.
    """

    def __init__(self, tag: str) -> None:
        self.documented = APIRouter(prefix="/v1", tags=[tag])
        self.served: list[Route] = []

    def add(
        self,
        method: str,
        path: str,
        *scopes: Scope | Ticket,
        body: type[Model] | None = None,
        answer: Any,
        query: dict[str, str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register a handler.

        Args:
            method: the HTTP method.
            path: below ``/v1``.
            scopes: token scopes that may call it; none for everybody, without a token.
            body: the model of the body; None for no body.
            answer: the model of the answer.
            query: parameters of the query string, with what they mean.
        """

        def register(handler: Handler) -> Handler:
            endpoint = _Endpoint(handler, scopes, body)
            route = Route(f"/v1{path}", endpoint, methods=[method])
            route.methods = {method}  # without the HEAD that comes with every GET
            self.served.append(route)

            async def described() -> None: ...

            described.__name__ = handler.__name__
            described.__doc__ = handler.__doc__
            self.documented.add_api_route(
                path,
                described,
                methods=[method],
                response_model=None,
                openapi_extra=_documented(path, body, answer, query or {}, scopes),
            )
            return handler

        return register


class _Endpoint:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler, scopes: tuple[Scope | Ticket, ...], body: type[Model] | None) -> None:
        self._handler = handler
        self._scopes = scopes
        self._body = body

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        answer = await _answer(Request(scope, receive), self._handler, self._scopes, self._body)
        await answer(scope, receive, send)


async def _answer(
    request: Request, handler: Handler, scopes: tuple[Scope | Ticket, ...], body: type[Model] | None
) -> Response:
    service: Service = request.app.state.service
    try:
        principal = _NOBODY
        if scopes:
            principal = await service.authenticator.authenticate(request.headers.get("authorization"), scopes)
        content_type = request.headers.get("content-type", codec.JSON)
        decoded = codec.decode(await _read(request), body, content_type) if body is not None else None
        result = await handler(Call(request, service, principal, decoded, content_type))
    except RequestRefused as refusal:
        return problem(refusal)
    except ClientDisconnect:
        return Response(status_code=400)  # to nobody
    accepted = codec.MSGPACK if "msgpack" in request.headers.get("accept", "") else codec.JSON
    return Response(codec.encode(result, accepted), media_type=accepted)


_NOBODY = Principal("", "", "client", "")


async def _read(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    parts = []
    size_bytes = 0
    async for part in request.stream():
        size_bytes += len(part)
        if size_bytes > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> TooLarge:
    return TooLarge(f"The body is over {MAX_BODY_BYTES} bytes.", fix="Send smaller batches, and large data as objects.")


def problem(refusal: RequestRefused) -> Response:
    """A refusal as ``application/problem+json``."""
    body = Problem(
        title=refusal.title, status=refusal.status, detail=refusal.detail, fix=refusal.fix, field=refusal.field
    )
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
    return Response(codec.encode(body, codec.JSON), refusal.status, headers, PROBLEM)


def _documented(
    path: str, body: type[Model] | None, answer: Any, query: dict[str, str], scopes: tuple[Scope | Ticket, ...]
) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "responses": {
            "200": {"description": "Done", "content": _content(answer)},
            "4XX": {"description": "Refused", "content": {PROBLEM: {"schema": _schema(Problem)}}},
        }
    }
    if body is not None:
        extra["requestBody"] = {"required": True, "content": _content(body)}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in query.items()
    ]
    if parameters:
        extra["parameters"] = parameters
    if scopes:
        extra["security"] = [{"bearer": []}]
        extra["x-scopes"] = list(scopes)
    return extra


def _content(model: Any) -> dict[str, Any]:
    return {content_type: {"schema": _schema(model)} for content_type in codec.CONTENT_TYPES}


def _schema(model: Any) -> dict[str, Any]:
    _documented_models.append(model)
    (schema,), _ = msgspec.json.schema_components([model], ref_template="#/components/schemas/{name}")
    return schema


_documented_models: list[Any] = [Problem]


def model_schemas() -> dict[str, Any]:
    """The OpenAPI components of every model that a route takes or gives."""
    _, components = msgspec.json.schema_components(_documented_models, ref_template="#/components/schemas/{name}")
    return components
