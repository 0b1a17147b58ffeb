"""Credentials of the first start: private, kept, and made anew when they are no good."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from faas.errors import ConfigurationError
from faas.models import Nothing, Token, WhoAmI
from router.bootstrap import CREDENTIALS, write_credentials
from router.service import Service
from router.settings import ServiceSettings
from tests.unit.router.callers import Caller, federation

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_settings")]


def read(directory: Path, name: str = "credentials.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / name).read_text())
    return content


async def test_files_are_private_and_tokens_good(tmp_path: Path) -> None:
    async with federation(tmp_path / "data", port=9001) as service:
        for name, scope in CREDENTIALS.items():
            path = tmp_path / "data" / name
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            content = read(tmp_path / "data", name)
            assert content["url"] == "http://127.0.0.1:9001"
            mine = await Caller(service.http, content["token"]).ask("GET", "/v1/whoami", answer=WhoAmI)
            assert mine.scope == scope


async def test_tokens_are_kept_across_restarts(tmp_path: Path) -> None:
    async with federation(tmp_path):
        before = read(tmp_path)
    async with federation(tmp_path) as service:
        assert read(tmp_path) == before
        assert len(await service.admin.ask("GET", "/v1/tokens", answer=list[Token])) == len(CREDENTIALS)


async def test_another_port_changes_the_url_and_not_the_token(tmp_path: Path) -> None:
    async with federation(tmp_path, port=9001):
        before = read(tmp_path)
    async with federation(tmp_path, port=9002):
        after = read(tmp_path)
    assert after == {"url": "http://127.0.0.1:9002", "token": before["token"]}


async def test_a_new_database_makes_new_tokens(tmp_path: Path) -> None:
    async with federation(tmp_path):
        before = read(tmp_path)
    for file in tmp_path.glob("registry.sqlite*"):
        file.unlink()
    async with federation(tmp_path) as service:
        after = read(tmp_path)
        assert after["token"] != before["token"]
        assert (await Caller(service.http, before["token"]).refusal("GET", "/v1/whoami")).status == 401
        await Caller(service.http, after["token"]).ask("GET", "/v1/whoami", answer=WhoAmI)


async def test_a_revoked_token_is_replaced_at_the_next_start(tmp_path: Path) -> None:
    async with federation(tmp_path) as service:
        me = Caller(service.http, read(tmp_path)["token"])
        token_id = (await me.ask("GET", "/v1/whoami", answer=WhoAmI)).token_id
        await service.admin.ask("DELETE", f"/v1/tokens/{token_id}", answer=Nothing)
    async with federation(tmp_path) as service:
        await Caller(service.http, read(tmp_path)["token"]).ask("GET", "/v1/whoami", answer=WhoAmI)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": null}', b'{"url": "x"}', b"\xff", b'"text"'])
async def test_a_broken_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "credentials.json").write_bytes(content)
    (tmp_path / "credentials.json").chmod(0o644)
    async with federation(tmp_path) as service:
        await Caller(service.http, read(tmp_path)["token"]).ask("GET", "/v1/whoami", answer=WhoAmI)
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == sorted(CREDENTIALS)


async def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    service = Service.assemble(ServiceSettings(data_directory=tmp_path))
    try:
        (tmp_path / "credentials.json").mkdir()  # root could write anything else
        with pytest.raises(ConfigurationError, match="--data-dir"):
            await write_credentials(service)
    finally:
        await service.close()
