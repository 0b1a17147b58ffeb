"""What the service needs to know before it starts: from options, then FAAS_… variables, then defaults."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from faas.errors import ConfigurationError
from faas.settings import load_settings as find_home

DEFAULT_PORT = 8585
DAY_S = 24 * 3600.0

_SOURCES = {
    "data_directory": "--data-dir",
    "host": "--host",
    "port": "--port",
    "database_url": "--database-url or FAAS_DATABASE_URL",
    "FAAS_STORE": "--store or FAAS_STORE",
    "store_url": "--store or FAAS_STORE",
    "tls_certificate": "--tls-cert",
    "tls_key": "--tls-key",
    "public_url": "--public-url",
    "log_level": "--log-level",
    "policy": "--policy or FAAS_POLICY",
    "retention_days": "--retention-days or FAAS_RETENTION_DAYS",
}


def default_data_directory() -> Path:
    """``$FAAS_HOME``, else ``~/.faas``: there the other commands look for credentials by themselves."""
    return find_home().home.expanduser()


class ServiceSettings(BaseSettings):
    """Settings of one service process; see :func:`load_settings` for errors in words.

    Every field may also be given as an environment variable, ``FAAS_`` and its name in capitals;
    ``store_url`` as ``FAAS_STORE``.
    """

    model_config = SettingsConfigDict(env_prefix="FAAS_", extra="ignore", frozen=True, populate_by_name=True)

    data_directory: Path = Field(default_factory=default_data_directory)
    """Keys, credentials, and unless said otherwise the database and the objects; made absolute."""
    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    database_url: str = ""
    """SQLAlchemy URL; a SQLite file in the data directory when empty."""
    store_url: str = Field(default="", validation_alias="FAAS_STORE")
    """``file:///directory`` or ``s3://bucket/prefix``; a folder of the data directory when empty."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    """Serve other machines without TLS: every token then crosses the network in the clear."""
    policy: str = "first_free"
    """What goes where: ``first_free``, ``fastest``, ``round_robin``, ``shortest_backlog``, ``pinned``, or an installed
    package's."""
    overcommit: float = Field(default=1.5, ge=1, le=100)
    """How many times what is expected to be needed is asked for in blocks, by policies that foresee."""
    lease_timeout_s: float = Field(default=15, ge=1)
    retention_days: float = Field(default=30, ge=1 / 24)
    """How long tasks and their results are kept after the tasks ended."""
    public_url: str = ""
    """Where clients and agents reach the service; derived from host and port when empty."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "warning"

    @field_validator("data_directory", "tls_certificate", "tls_key")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("tls_certificate", "tls_key")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"cannot read {path}: {error.strerror}") from error
        return path

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and not url.startswith(("file:///", "s3://")):
            raise ValueError(f"{url!r} is neither file:///directory nor s3://bucket/prefix")
        return url

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} does not start with http:// or https://")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> ServiceSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "--tls-key" if self.tls_key is None else "--tls-cert"
            raise ValueError(f"TLS needs a certificate and its key: add {missing}")
        if not is_loopback(self.host) and self.tls_certificate is None and not self.insecure:
            raise ValueError(
                f"refusing to listen on {self.host} without TLS, for tokens would cross the network in the clear: "
                "add --tls-cert and --tls-key, or --insecure if a TLS proxy stands in front"
            )
        derived = {
            "database_url": self.database_url or f"sqlite:///{self.data_directory / 'registry.sqlite'}",
            "store_url": self.store_url or (self.data_directory / "store").as_uri(),
            "public_url": self.public_url or self._own_url(),
        }
        for name, value in derived.items():  # frozen for everyone else
            object.__setattr__(self, name, value)
        return self

    def _own_url(self) -> str:
        """The URL that works on this machine; others may need ``public_url``."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = self.host
        if _is_wildcard(host):  # no address to connect to; a certificate names the machine
            host = "127.0.0.1" if scheme == "http" else socket.getfqdn()
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def load_settings(**options: Any) -> ServiceSettings:
    """Settings from options (None: not given), FAAS_… variables and defaults.

    Raises:
        ConfigurationError: a value is wrong; the message names the option and the fix.

    Example:
        >>> load_settings(port=9001, data_directory="/tmp/try").public_url
        'http://127.0.0.1:9001'
    """
    try:
        return ServiceSettings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError("; ".join(_in_words(details) for details in error.errors())) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _in_words(details: Any) -> str:
    message = str(details["msg"]).removeprefix("Value error, ")
    if not details["loc"]:
        return message
    field = str(details["loc"][0])
    source = _SOURCES.get(field, f"FAAS_{field.upper()}")
    if details["type"] == "value_error":  # raised above, and says what was given
        return f"{source}: {message}"
    return f"{source}: {message[:1].lower()}{message[1:]}, not {details['input']!r}"
