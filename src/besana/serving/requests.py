"""Read what callers send: multipart, base64 in JSON, or the bytes of one picture."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from besana.serving.service import Frame
from besana.web.gate import RefusedError

if TYPE_CHECKING:
    from starlette.requests import Request

PICTURE_MEDIA = (
    *("image/jpeg", "image/png", "image/webp", "image/tiff"),
    *("application/x-image", "application/octet-stream"),
)
MEDIA = ("application/json", "multipart/form-data", *PICTURE_MEDIA)

_MOST_FIELDS = 64
_URLS = ("url", "uri", "image_url", "gcs_uri", "s3_uri")


def media_of(request: Request) -> str:
    """Give the content type without its parameters."""
    named: dict[str, str] = request.scope["named"]
    return named.get("content-type", "").partition(";")[0].strip().lower()


async def frames_of(request: Request, most: int) -> list[Frame]:
    """Read the frames of a request of any accepted kind.

    Args:
        request: Its query may name a `camera` for all of them.
        most: Frames in one request.

    Raises:
        RefusedError: If the request is not understood.
    """
    camera = request.query_params.get("camera", "") if request.scope["query_string"] else ""
    kind = media_of(request)
    if kind == "multipart/form-data":
        return await _multipart(request, camera, most)
    body = await request.body()
    if kind in PICTURE_MEDIA:
        return [Frame({"rgb": body}, camera)]
    values = parsed(body)
    entries = values.get("images", values.get("instances"))
    return frames_in(entries, values.get("camera", camera), most)


def frames_in(entries: Any, camera: Any, most: int) -> list[Frame]:
    """Read frames from JSON: texts in base64, or objects with `b64` or `bands`.

    Raises:
        RefusedError: If they are not understood.
    """
    if not isinstance(entries, list) or not entries:
        raise wrong('Send images as a list: [{"b64": "...", "camera": "pen-a"}].')
    if len(entries) > most:
        raise RefusedError(413, "too_many", f"At most {most} pictures a request.")
    return [_frame(entry, camera, number) for number, entry in enumerate(entries)]


def parsed(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RefusedError: If it is none.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise wrong("The body is not JSON.") from None
    if not isinstance(values, dict):
        raise wrong("The body is not a JSON object.")
    return values


def wrong(problem: str) -> RefusedError:
    """Make the refusal of a request that is not understood."""
    return RefusedError(422, "wrong_input", problem)


def decoded(text: Any) -> bytes:
    """Decode base64.

    Raises:
        RefusedError: If it is not base64, or a URL.
    """
    if not isinstance(text, str):
        raise wrong("A picture is a text in base64.")
    if text[:8].lower().startswith(("http:", "https:", "file:", "ftp:", "s3:", "gs:", "data:")):
        raise RefusedError(422, "no_urls", "URLs are not accepted; send the picture itself.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong("A picture is not valid base64.") from None


def _frame(entry: Any, camera: Any, number: int) -> Frame:
    if isinstance(entry, str):
        entry = {"b64": entry}
    if not isinstance(entry, Mapping):
        raise wrong("An image is a text in base64 or an object.")
    if any(key in entry for key in _URLS):
        raise RefusedError(422, "no_urls", "URLs are not accepted; send the picture itself.")
    entry = entry.get("image_bytes", entry) if "b64" not in entry else entry
    bands = entry.get("bands") if isinstance(entry, Mapping) else None
    if isinstance(bands, Mapping) and bands:
        files = {str(name): decoded(text) for name, text in bands.items()}
    else:
        files = {"rgb": decoded(entry.get("b64") if isinstance(entry, Mapping) else None)}
    named, name = entry.get("camera", camera), entry.get("name", str(number))
    if not isinstance(named, str) or not isinstance(name, str):
        raise wrong("camera and name are texts.")
    return Frame(files, named, name[:200])


async def _multipart(request: Request, camera: str, most: int) -> list[Frame]:
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException

    try:
        form = await request.form(max_files=most, max_fields=_MOST_FIELDS)
    except MultiPartException as error:
        raise RefusedError(400, "wrong_input", error.message[:200]) from None
    named = form.get("camera", camera)
    frames = []
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            data = await value.read()
            frames.append(Frame({"rgb": data}, str(named), (value.filename or "")[:200]))
    await form.close()
    if not frames:
        raise wrong("Send at least one file.")
    return frames
