"""Bytes to wire models and back, in msgpack or JSON, chosen by content type."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from faas.errors import InvalidRequest

MSGPACK = "application/msgpack"
"""What our own programs speak."""
JSON = "application/json"
"""What ``curl`` and browsers speak."""
CONTENT_TYPES = (MSGPACK, JSON)

T = TypeVar("T")

_msgpack_encoder = msgspec.msgpack.Encoder()
_json_encoder = msgspec.json.Encoder()


def encode(model: Any, content_type: str = MSGPACK) -> bytes:
    """Encode a wire model, or a list of them.

    Args:
        model: what to encode.
        content_type: a media type, with or without parameters.

    Returns:
        The encoded bytes.

    Raises:
        InvalidRequest: the content type is neither msgpack nor JSON.

    Example:
        >>> from faas.models import Health
        >>> encode(Health(status="ok", version="1"), "application/json")
        b'{"status":"ok","version":"1"}'
    """
    if _is_msgpack(content_type):
        return _msgpack_encoder.encode(model)
    return _json_encoder.encode(model)


def decode(data: bytes | memoryview | msgspec.Raw, type: type[T], content_type: str = MSGPACK, *, at: str = "") -> T:
    """Decode and check a body, or one item of it.

    Args:
        data: the encoded bytes.
        type: the model expected, or ``list[model]``.
        content_type: a media type, with or without parameters.
        at: where in the request this item lies, as ``tasks[3]``; goes before the field in errors.

    Returns:
        The model.

    Raises:
        InvalidRequest: not of that type; ``field`` is the path of what is wrong.
    """
    try:
        wanted: Any = type
        decoder = _msgpack_decoder(wanted) if _is_msgpack(content_type) else _json_decoder(wanted)
        decoded: T = decoder.decode(data)
        return decoded
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field = _joined(at, path.rstrip("`"))
        where = f"{field}: " if field else ""
        raise InvalidRequest(f"{where}{message}.", field=field) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", fix="Flatten it.", field=at) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        detail = f"The body is not {'msgpack' if _is_msgpack(content_type) else 'JSON'}: {error}."
        fix = f"Send what the Content-Type header says: {' or '.join(CONTENT_TYPES)}."
        raise InvalidRequest(detail, fix=fix, field=at) from None


def _joined(at: str, path: str) -> str:
    """``tasks[3]`` and ``$.timeout_s`` give ``tasks[3].timeout_s``."""
    inside = path.removeprefix("$").removeprefix(".")
    if at and inside and not inside.startswith("["):
        return f"{at}.{inside}"
    return at + inside


@lru_cache(maxsize=8)
def _is_msgpack(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (MSGPACK, "application/x-msgpack", "application/vnd.msgpack"):
        return True
    if kind == JSON or kind.endswith("+json"):
        return False
    raise InvalidRequest(
        f"Content type {content_type!r} is not understood.",
        fix=f"Use {' or '.join(CONTENT_TYPES)}.",
        field="Content-Type",
    )


@lru_cache(maxsize=256)
def _msgpack_decoder(type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type)


@lru_cache(maxsize=256)
def _json_decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)
