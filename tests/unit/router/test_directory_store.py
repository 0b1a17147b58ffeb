"""The directory store: what every store must do, over real HTTP; and its files, uploads and signatures."""

from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import fastapi
import pytest

from faas.errors import ConfigurationError
from router.store import SignedURL, Store, open_store
from router.store.directory import DirectoryStore
from router.store.directory_routes import store_routes
from router.store.files import UPLOADS, Upload
from router.store.signing import URLSigner, load_secret
from tests.services.store_behaviour import KEY, RealStoreBehaviour
from tests.services.web_server import WebServer

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[DirectoryStore]:
    store = DirectoryStore(root, secret=SECRET)
    await store.check()
    yield store
    await store.close()


@pytest.fixture
def app(store: DirectoryStore) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.router.routes.extend(store_routes(store))
    return app


@pytest.fixture
def base_url(app: fastapi.FastAPI) -> Iterator[str]:
    with WebServer(app) as server:
        yield server.url


def _uploads(root: Path) -> list[Path]:
    return list((root / UPLOADS).iterdir())


class TestDirectoryStore(RealStoreBehaviour):
    async def expired(self, store: Store, key: str) -> SignedURL:
        return await store.grant(key, "GET", expires_s=-2)


class TestFiles:
    async def test_nobody_but_the_owner_may_read_the_files(self, root: Path, store: DirectoryStore) -> None:
        await store.write(KEY, b"x")
        assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o600
        assert stat.S_IMODE((root / KEY).parent.stat().st_mode) == 0o700

    async def test_what_a_killed_service_left_is_removed_and_live_uploads_are_not(
        self, root: Path, store: DirectoryStore
    ) -> None:
        program = (
            "import os, sys\nfrom pathlib import Path\nfrom router.store.files import Files, Upload\n"
            "upload = Upload(Files(Path(sys.argv[1])), 'a')\nupload.append(b'half')\nos.kill(os.getpid(), 9)\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, root], check=False)
        assert killed.returncode == -9
        assert len(_uploads(root)) == 1
        with Upload(store.files, KEY) as live:
            live.append(b"whole")
            await store.check()
            assert len(_uploads(root)) == 1
            live.finish()
        assert await store.read(KEY) == b"whole"
        assert [found.key async for found in store.list()] == [KEY]

    async def test_deletion_removes_empty_folders_and_uploads_stand_it(self, root: Path, store: DirectoryStore) -> None:
        await store.write("kept/a", b"x")
        await store.write("emptied/once/a", b"x")
        await store.delete(["emptied/once/a"])
        assert not (root / "emptied").exists()
        keys = [f"busy/day/{number}" for number in range(200)]

        async def put_and_delete(key: str) -> None:
            await store.write(key, b"x")
            assert await store.read(key) == b"x"
            await store.delete([key])

        await asyncio.gather(*(put_and_delete(key) for key in keys))
        assert not (root / "busy").exists()
        assert await store.read("kept/a") == b"x"

    async def test_a_folder_somebody_else_removed_is_made_again(self, root: Path, store: DirectoryStore) -> None:
        await store.write("day/a", b"x")
        shutil.rmtree(root / "day")
        await store.write("day/b", b"y")
        assert [found.key async for found in store.list()] == ["day/b"]

    async def test_uploads_do_not_go_through_a_link(self, root: Path, store: DirectoryStore) -> None:
        outside = root.parent / "outside"
        (root / UPLOADS).rename(outside)
        (root / UPLOADS).symlink_to(outside)
        with pytest.raises(ConfigurationError, match=r"link.*\.uploads"):
            await store.check()


class TestOpening:
    async def test_a_file_url_opens_a_directory_and_keeps_its_secret(self, root: Path) -> None:
        first = open_store(root.as_uri())
        grant = await first.grant(KEY, "GET", expires_s=60)
        second = open_store(root.as_uri())
        query = {name: values[0] for name, values in parse_qs(urlsplit(grant.url).query).items()}
        assert isinstance(second, DirectoryStore)
        second.signer.check(KEY, "GET", query, time.time())
        await second.check()
        assert [found async for found in second.list()] == []
        await first.close()
        await second.close()

    async def test_an_escaped_path_is_understood(self, tmp_path: Path) -> None:
        store = open_store((tmp_path / "with space é").as_uri())
        await store.check()
        assert (tmp_path / "with space é").is_dir()
        await store.close()

    @pytest.mark.parametrize(
        "url", ["file://relative/path", "file:relative", "file://", "file:///a?b=c", "file:///a#b"]
    )
    def test_a_url_that_names_no_absolute_path_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="file:///path"):
            open_store(url)

    async def test_a_root_that_cannot_be_is_refused_with_the_fix(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/objects")):
            store = DirectoryStore(path, secret=SECRET)
            with pytest.raises(ConfigurationError, match=r"cannot be used: .*FAAS_STORE=file:///path"):
                await store.check()
            await store.close()
            with pytest.raises(ConfigurationError, match=str(path)):
                open_store(path.as_uri())

    def test_the_secret_is_made_once_and_for_the_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        secret = load_secret(path)
        assert len(secret) >= 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_secret(path) == secret
        assert list(tmp_path.iterdir()) == [path]
        path.chmod(0o640)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            load_secret(path)

    def test_a_short_secret_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret").touch(mode=0o600)
        with pytest.raises(ConfigurationError, match="shorter"):
            URLSigner(load_secret(tmp_path / "secret"))
