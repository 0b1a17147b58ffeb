"""The connections that carry requests: straight ones, and ones through the proxy that the environment names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx

from faas.exchange import trust

T = TypeVar("T", httpx.BaseTransport, httpx.AsyncBaseTransport)

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Transports(Generic[T]):
    """Transports by proxy, each made on first use.

    httpx's own clients choose among transports likewise, but merging headers, cookies, authentication and redirects,
    none of which is used here, costs them as much again as the exchange itself.

    Args:
        make: a transport, given the proxy's URL or None.
    """

    def __init__(self, make: Callable[[str | None], T]) -> None:
        self._make: Callable[[str | None], T] = make
        self._by_host: dict[tuple[str, str], T] = {}
        self._by_proxy: dict[str | None, T] = {}

    def to(self, url: httpx.URL) -> T:
        """The transport that leads to a URL."""
        place = (url.scheme, url.host)
        found = self._by_host.get(place)
        if found is None:
            proxy = proxy_for(url)
            if proxy not in self._by_proxy:
                self._by_proxy[proxy] = self._make(proxy)
            found = self._by_host[place] = self._by_proxy[proxy]
        return found

    @property
    def made(self) -> list[T]:
        """Every transport made so far, to be closed."""
        return list(self._by_proxy.values())


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` name for a URL.

    Never one for this very machine, whatever they say: no proxy could reach it.
    """
    if url.host in _LOOPBACK or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


def blocking(proxy: str | None) -> httpx.BaseTransport:
    """A transport for threads."""
    return httpx.HTTPTransport(verify=trust(), limits=LIMITS, proxy=proxy)


def asynchronous(proxy: str | None) -> httpx.AsyncBaseTransport:
    """A transport for one event loop."""
    return httpx.AsyncHTTPTransport(verify=trust(), limits=LIMITS, proxy=proxy)
