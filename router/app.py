"""The service as an ASGI application, and the process that serves it."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from faas import __version__, codec
from faas.errors import ConfigurationError, FaasError, NotFound, RequestRefused, ServiceUnavailable
from faas.models import Problem
from router.api import (
    endpoints,
    functions,
    history,
    identities,
    locations,
    logs,
    objects,
    results,
    sessions,
    tasks,
    triggers,
    usage,
)
from router.api.routes import PROBLEM, model_schemas, problem
from router.bootstrap import write_credentials
from router.protocol import GatheringProtocol
from router.service import Service
from router.settings import ServiceSettings
from router.store.directory import DirectoryStore
from router.store.directory_routes import store_routes

log = logging.getLogger(__name__)


def create_app(service: Service) -> FastAPI:
    """The API around an assembled service; starting the app starts the housekeeping."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        housekeeping = asyncio.create_task(service.run())
        try:
            yield
        finally:
            housekeeping.cancel()
            with suppress(asyncio.CancelledError):
                await housekeeping
            await service.close()

    app = FastAPI(title="faas", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    # Routes are tried in this order: what every task goes through stands first.
    if isinstance(service.store, DirectoryStore):
        app.router.routes.extend(store_routes(service.store))
    data = (results, objects, locations)
    told = (usage, history, logs)
    nouns = [noun.routes for noun in (sessions, tasks, *data, functions, endpoints, identities, triggers, *told)]
    app.router.routes.extend(route for noun in nouns for route in noun.served)
    _add_openapi(app, service, [route for noun in nouns for route in noun.documented.routes])
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(ServiceUnavailable, _unavailable)
    app.add_exception_handler(Exception, _unexpected)
    return app


def serve(settings: ServiceSettings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the port, the database, the store or the data directory cannot be used.
    """
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)  # the registry knows everybody's arguments, and the directory store their results
    _check_certificate(settings)
    listener = _listen(settings)
    service = Service.assemble(settings)
    asyncio.run(_prepare(service))
    config = uvicorn.Config(
        create_app(service),
        http=GatheringProtocol,
        log_level=settings.log_level,
        access_log=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
        server_header=False,
        proxy_headers=False,
    )
    # A batch is thousands of small objects in no cycle: collecting at the default pace takes time for nothing.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    print(f"faas serves at {settings.public_url} (data in {settings.data_directory})", flush=True)
    _Server(config, service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Lets long polls go as soon as it is told to stop; having stopped when told to is success."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # else uvicorn raises them again, and the process dies of them

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.wakeups.close()
        await super().shutdown(sockets)


async def _prepare(service: Service) -> None:
    try:
        await service.store.check()
        await write_credentials(service)
    except BaseException:
        await service.close()
        raise


def _check_certificate(settings: ServiceSettings) -> None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")  # never asks the terminal
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The certificate {settings.tls_certificate} cannot be used with the key {settings.tls_key}: {error}. "
            "Give a PEM chain with --tls-cert and its unencrypted key with --tls-key."
        ) from error


def _listen(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {reason}. Choose another with --port."
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _add_openapi(app: FastAPI, service: Service, documented: list[BaseRoute]) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=documented)
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(model_schemas())
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = schema
        return app.openapi_schema

    async def show(request: Request) -> Response:
        try:
            await service.authenticator.authenticate(
                request.headers.get("authorization"), ("client", "submit", "endpoint")
            )
        except RequestRefused as refusal:
            return problem(refusal)
        return Response(codec.encode(openapi(), codec.JSON), media_type=codec.JSON)

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/v1/openapi.json", show, include_in_schema=False)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(NotFound(f"There is no {request.url.path} here.", fix="See /v1/openapi.json for what there is."))
    body = Problem(
        title="Refused", status=error.status_code, detail=f"{request.method} {request.url.path}: {error.detail}."
    )
    return Response(codec.encode(body, codec.JSON), error.status_code, error.headers, PROBLEM)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = str(error) if isinstance(error, FaasError) else "The service failed; its log says why."
    body = Problem(title="Internal error", status=500, detail=detail, fix="Try again; nothing accepted was lost.")
    return Response(codec.encode(body, codec.JSON), 500, media_type=PROBLEM)


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("%s %s: %s", request.method, request.url.path, error)
    body = Problem(title="Unavailable", status=503, detail=str(error), fix="Try again; nothing accepted was lost.")
    return Response(codec.encode(body, codec.JSON), 503, {"Retry-After": "1"}, PROBLEM)
