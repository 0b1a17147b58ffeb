"""Whether an endpoint's agent reaches its service from here: proxy, certificate, token, clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from endpoints.findings import Finding, doubtful, failed, ok
from faas.credentials import Credentials
from faas.errors import FaasError, NotAuthenticated, PermissionDenied
from faas.exchange import outgoing, service_headers
from faas.link import Link
from faas.models import WhoAmI
from faas.transports import Transports, blocking, proxy_for

_TIMEOUT_S = 10.0
_SKEW_S = 5.0
_BAD_SKEW_S = 300.0


def check_proxy(credentials: Credentials) -> Iterator[Finding]:
    """Which way leads to the service."""
    proxy = proxy_for(httpx.URL(credentials.url))
    if proxy is None:
        yield ok("proxy", "none on the way to the service")
        return
    url = httpx.URL(proxy)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.host, port), _TIMEOUT_S).close()
    except OSError as error:
        yield failed(
            "proxy",
            f"{url.host}:{port} does not answer: {error.strerror or error}",
            "correct HTTPS_PROXY, or except the service with NO_PROXY",
        )
        return
    yield ok("proxy", f"{url.host}:{port}")


def check_service(credentials: Credentials) -> Iterator[Finding]:
    """Whether it answers, takes the agent's token, and has the same time."""
    began = time.monotonic()
    try:
        with Link(credentials.url, credentials.token, timeout_s=_TIMEOUT_S, attempts=1) as link:
            who = link.request("GET", "/v1/whoami", response=WhoAmI)
    except (NotAuthenticated, PermissionDenied) as error:
        yield failed("token", error.detail, "make a new one: faas endpoint configure NAME")
        return
    except FaasError as error:
        yield failed("service", str(error))
        return
    yield ok("service", f"{credentials.url} answers in {(time.monotonic() - began) * 1000:.0f} ms")
    if who.scope == "endpoint":
        yield ok("token", f"an endpoint's, of {who.identity}")
    else:
        yield failed("token", f"it is one of scope {who.scope}", "make a new one: faas endpoint configure NAME")
    yield from _check_clock(credentials)


def _check_clock(credentials: Credentials) -> Iterator[Finding]:
    url = httpx.URL(f"{credentials.url}/v1/health")
    transports = Transports(blocking)
    try:
        before = time.time()
        answer = transports.to(url).handle_request(
            outgoing("GET", str(url), None, _TIMEOUT_S, service_headers(credentials.token))
        )
        answer.close()
        here = (before + time.time()) / 2
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5  # it tells whole seconds
    except (httpx.HTTPError, KeyError, ValueError):
        yield doubtful("clock", "the service does not tell its time")
        return
    finally:
        for transport in transports.made:
            transport.close()
    skew_s = here - there
    told = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the service's"
    if abs(skew_s) > _BAD_SKEW_S:
        yield failed("clock", told, "set this host's clock: storage refuses what is signed at another time")
    elif abs(skew_s) > _SKEW_S:
        yield doubtful("clock", told, "set this host's clock")
    else:
        yield ok("clock", f"within {_SKEW_S:.0f} s of the service's")
