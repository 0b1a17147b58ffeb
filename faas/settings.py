"""Settings of people's programs, from FAAS_* environment variables, and which credentials follow from them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from faas.credentials import Credentials, read_credentials
from faas.errors import ConfigurationError

CREDENTIALS_FILE = "credentials.json"


class Settings(BaseSettings):
    """The environment variables this library looks at."""

    model_config = SettingsConfigDict(env_prefix="FAAS_", env_ignore_empty=True)

    url: str = ""
    """FAAS_URL: the service's address."""
    token: SecretStr = SecretStr("")
    """FAAS_TOKEN: the bearer token."""
    home: Path = Field(default_factory=lambda: Path.home() / ".faas")
    """FAAS_HOME: where credentials and endpoint configurations live."""
    credentials: Path | None = None
    """FAAS_CREDENTIALS: a credentials file elsewhere."""

    @property
    def credentials_path(self) -> Path:
        """The credentials file that counts, present or not."""
        return (self.credentials or self.home / CREDENTIALS_FILE).expanduser()


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        ConfigurationError: a variable has an impossible value; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"FAAS_{str(first['loc'][0]).upper()}: {first['msg']}.") from None


def find_credentials(url: str | None = None, token: str | None = None) -> Credentials:
    """Where to connect, and as whom: as given, else from the environment, else from the credentials file.

    Args:
        url: of the service.
        token: the bearer token.

    Returns:
        Both. A token from a file goes only to the URL in that file.

    Raises:
        ConfigurationError: one of them is nowhere to be found, or the file is unusable.
    """
    settings = load_settings()
    url = url or settings.url
    token = token or settings.token.get_secret_value()
    if url and token:
        return Credentials(url=url, token=token)
    path = settings.credentials_path
    if not path.exists():
        lacking = "FAAS_URL" if token else "FAAS_TOKEN" if url else "FAAS_URL and FAAS_TOKEN"
        raise ConfigurationError(
            f"No service to talk to: {lacking} not set, and there is no {path}. "
            "`faas up` starts a service and writes it; for one in another --data-dir, "
            "set FAAS_CREDENTIALS to the credentials.json there."
        )
    found = read_credentials(path)
    if url and url.rstrip("/") != found.url.rstrip("/"):
        raise ConfigurationError(f"{path} holds a token for {found.url}, not for {url}. Set FAAS_TOKEN too.")
    return Credentials(url=url or found.url, token=token or found.token, endpoint_id=found.endpoint_id)
