"""How the agent's requests travel: by aiohttp beneath httpx, at a third of the CPU time of httpx's own way."""

from __future__ import annotations

import httpx
from httpx_aiohttp import AiohttpTransport

from faas.exchange import trust
from faas.transports import LIMITS


def aiohttp_transport(proxy: str | None) -> httpx.AsyncBaseTransport:
    """A transport for one event loop.

    Args:
        proxy: the proxy's URL; None for the straight way.
    """
    return AiohttpTransport(verify=trust(), limits=LIMITS, proxy=httpx.Proxy(proxy) if proxy else None)
