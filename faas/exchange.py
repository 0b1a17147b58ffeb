"""What one HTTP exchange means: headers and addresses going out; answer, refusal or another try coming back."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar

import httpx
import tenacity

from faas import __version__, codec
from faas.errors import REFUSALS, ConfigurationError, InvalidRequest, RequestRefused, ServiceUnavailable
from faas.models import Grant, Location, Problem

T = TypeVar("T")
Parameters = Mapping[str, str | int | float]

_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.2, max=10)
_RETRY_AFTER_MAX_S = 60.0
_EXCERPT = 300
_QUIET_S = 2.0
"""How long tries go on before anything is said of them."""

_log = logging.getLogger(__name__)


class Again(Exception):
    """One try failed in a way that may pass; ``after_s`` is how long the other side asked us to wait."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


def rule(attempts: int, timeout_s: float) -> dict[str, Any]:
    """When to try again, as keyword arguments for tenacity."""
    return {
        "stop": tenacity.stop_any(tenacity.stop_after_attempt(attempts), tenacity.stop_after_delay(2 * timeout_s)),
        "wait": _pause,
        "retry": tenacity.retry_if_exception_type(Again),
        "before_sleep": _tell,
        "reraise": True,
    }


def _tell(state: tenacity.RetryCallState) -> None:
    """Whoever waits is to know for what; a short hiccup is nobody's business."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Again) and (state.seconds_since_start or 0.0) + state.upcoming_sleep > _QUIET_S:
        _log.warning(
            "No usable answer yet: %s. Trying again in %.0f s …", error.reason.rstrip("."), state.upcoming_sleep
        )


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    backoff = _BACKOFF(state)
    if isinstance(error, Again) and error.after_s is not None:
        # A little more than asked for, and spread: everyone was told the same moment.
        return min(error.after_s, _RETRY_AFTER_MAX_S) + backoff
    return backoff


def brief(cause: BaseException | None) -> BaseException | None:
    """A cause without where in the libraries it arose, which hides the message above it in a page of frames."""
    if cause is None:
        return None
    cause.__cause__ = None
    return cause.with_traceback(None)


def ended(service_url: str, url: str, last: Again) -> ServiceUnavailable:
    """The error for when the tries have run out."""
    reason = last.reason.rstrip(".")
    if url.startswith(service_url):
        return ServiceUnavailable(
            f"No usable answer from the service at {service_url}: {reason}. Start it with `faas up`, or set FAAS_URL."
        )
    return ServiceUnavailable(
        f"No usable answer from the object store at {httpx.URL(url).host}: {reason}. "
        "See that this machine can reach it (firewall, HTTPS_PROXY), and try again."
    )


# Going out


def check_url(url: str) -> str:
    """The service's URL without a trailing slash.

    Raises:
        ConfigurationError: not an ``http://`` or ``https://`` address.
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"The service's URL {url!r} is malformed: {error}. Set FAAS_URL.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or any(map(str.isspace, url.strip())):
        raise ConfigurationError(
            f"The service's URL {url!r} is not an address like https://faas.example.org. Set FAAS_URL."
        )
    return str(parsed).rstrip("/")


def check_token(token: str) -> str:
    """The token, if it can travel in a header.

    Raises:
        ConfigurationError: it cannot; the message does not repeat it.
    """
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError("The token has characters that no token has. Set FAAS_TOKEN anew, without quotes.")
    return token


def service_headers(token: str) -> dict[str, str]:
    """What every request to the service carries."""
    headers = {"Accept": codec.MSGPACK, "Content-Type": codec.MSGPACK, "User-Agent": f"faas/{__version__}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def object_headers(grant: Grant, location: Location | None = None) -> dict[str, str]:
    """What a request to the store carries: what the grant was signed with, and the range."""
    headers = dict(grant.headers)
    if grant.verb == "GET":
        headers["Accept-Encoding"] = "identity"  # a range counts stored bytes, not decompressed ones
    if location is not None and location.length_bytes:
        headers["Range"] = f"bytes={location.offset}-{location.offset + location.length_bytes - 1}"
    return headers


def object_url(service_url: str, grant: Grant) -> str:
    """Where a grant leads; one that starts with ``/`` is relative to the service."""
    return service_url + grant.url if grant.url.startswith("/") else grant.url


@lru_cache(maxsize=4)
def _trust(cert_file: str, cert_directory: str) -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigurationError(
            f"SSL_CERT_FILE or SSL_CERT_DIR ({cert_file or cert_directory}) cannot be read: {error}."
        ) from None


def trust() -> ssl.SSLContext:
    """The certificate authorities to believe; loaded once, for it takes tens of milliseconds."""
    return _trust(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


def outgoing(
    method: str,
    url: str,
    content: Any,
    timeout_s: float,
    headers: dict[str, str],
    params: Parameters | None = None,
) -> httpx.Request:
    """A request as a transport takes it.

    Raises:
        httpx.UnsupportedProtocol: the URL is none of HTTP.
    """
    limits = {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
    request = httpx.Request(
        method, _parsed(url), params=params, headers=headers, content=content, extensions={"timeout": limits}
    )
    if request.url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol(f"{request.url.scheme!r} is no protocol of the web.")
    return request


_parsed = lru_cache(maxsize=256)(httpx.URL)
"""Requests go to a few places over and over, and httpx takes a while to read an address."""


# Coming back


def transport_failed(error: httpx.TransportError | httpx.DecodingError, url: str) -> Exception:
    """What a broken exchange means: mostly another try; a wrong setting is final."""
    host = httpx.URL(url).host
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ServiceUnavailable(
            f"{host} shows a certificate that is not trusted here: {error}. "
            "Point SSL_CERT_FILE at the certificate authority of your site."
        )
    if "WRONG_VERSION_NUMBER" in str(error):
        return ServiceUnavailable(f"{host} does not speak TLS at {url}. Write http:// if it has no certificate.")
    if isinstance(error, httpx.UnsupportedProtocol):
        return ConfigurationError(f"{error} Set FAAS_URL to an http:// or https:// address.")
    # aiohttp's transport tells of a dropped connection as of one that timed out; its cause knows better.
    if isinstance(error, httpx.TimeoutException) and "Timeout" in type(error.__cause__ or error).__name__:
        return Again(f"{host} did not answer in time ({type(error).__name__})")
    return Again(str(error) or type(error).__name__)


def refused_or_again(answer: httpx.Response) -> Exception:
    """The error an answer that is not 2xx stands for."""
    status = answer.status_code
    problem = _problem(answer)
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return Again(f"it answered {status}: {problem.detail}", _retry_after(answer))
    if status < 400:
        target = answer.headers.get("Location", "elsewhere")
        return ServiceUnavailable(f"{answer.request.url} answered {status} and points to {target}. Set FAAS_URL.")
    refusal = REFUSALS.get(status, RequestRefused)(problem.detail, fix=problem.fix, field=problem.field)
    refusal.status = status
    return refusal


def _problem(answer: httpx.Response) -> Problem:
    kind = answer.headers.get("Content-Type", "")
    try:
        return codec.decode(answer.content, Problem, kind)
    except InvalidRequest:  # not our service speaking: a proxy, or the store
        text = " ".join(answer.text.split())[:_EXCERPT]
        place = f"{answer.request.method} {answer.request.url.copy_with(query=None)}"
        return Problem(
            title=answer.reason_phrase, status=answer.status_code, detail=f"{place}: {text or answer.reason_phrase}"
        )


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def read_model(answer: httpx.Response, type: type[T], service_url: str) -> T:
    """Decode an answer of the service."""
    try:
        return codec.decode(answer.content, type, answer.headers.get("Content-Type", codec.MSGPACK))
    except InvalidRequest as error:
        raise ServiceUnavailable(
            f"What answers at {service_url} does not speak like the service: {error.detail} "
            "Set FAAS_URL to the service, and see that no proxy or login page is in between."
        ) from None


def read_object(answer: httpx.Response, location: Location | None) -> bytes:
    """The bytes asked for, and all of them."""
    data = answer.content
    if location is None:
        return data
    if answer.status_code != 206:  # the store ignored the range and sent everything
        data = data[location.offset : location.offset + location.length_bytes]
    if len(data) != location.length_bytes:
        raise Again(f"object {location.object_id}: {len(data)} bytes came, {location.length_bytes} were expected")
    return data
