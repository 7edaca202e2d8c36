"""A multipart request to two checked files and options, without ever holding a file in memory.

The body is spooled to disk as it arrives and refused as soon as it is larger than allowed. Only headers of the files
are read here; decoding them is the work of `ingest`.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.options import FIELDS, parse_options
from shared.errors import ArtifactUnavailable, InputError, LimitExceeded, UnsupportedMedia
from shared.media.audio import probe_sound
from shared.media.portrait import probe_portrait
from shared.protocol import JobOptions

FILES = ("portrait", "audio")
MAX_FIELD_BYTES = 1024
# Boundaries, part headers and fields come on top of the files.
FRAMING_BYTES = 64 * 1024
SPOOL_RETRY_S = 10.0


@dataclass(frozen=True)
class Submission:
    """A checked upload; the files are open until the request ends.

    Attributes:
        portrait, audio: open binary files.
        portrait_extension, audio_extension: recognised from the content, never from the file's name.
    """

    options: JobOptions
    portrait: IO[bytes]
    portrait_extension: str
    audio: IO[bytes]
    audio_extension: str


@asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncIterator[Submission]:
    """Receive and check one submission; temporary files are gone after the block.

    Raises:
        UnsupportedMedia: not multipart, or a file of a kind we do not read.
        LimitExceeded: too many bytes or pixels.
        InputError: a file is missing, an option is unknown or out of range.
    """
    form = await _form(request, max_bytes)
    try:
        files, fields = _sorted_parts(form)
        options = parse_options(fields)
        portrait = await run_in_threadpool(probe_portrait, files["portrait"])
        sound = await run_in_threadpool(probe_sound, files["audio"])
        yield Submission(options, files["portrait"], portrait.extension, files["audio"], sound.extension)
    finally:
        await form.close()


async def _form(request: Request, max_bytes: int) -> FormData:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMedia(
            f"a body of type {kind or 'unknown'}; expected multipart/form-data with portrait and audio."
        )
    limit = max_bytes + FRAMING_BYTES
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise _too_large(int(announced), max_bytes)
    parser = MultiPartParser(
        request.headers,
        _limited(request, limit, max_bytes),
        max_files=len(FILES) + 1,
        max_fields=len(FIELDS) + 8,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except OSError as error:
        raise ArtifactUnavailable(
            f"the upload cannot be kept while it arrives: {error.strerror or error}. Try again later.",
            retry_after_s=SPOOL_RETRY_S,
        ) from error
    except MultiPartException as error:
        raise InputError(
            f"a multipart body that cannot be read: {error.message} Expected portrait and audio."
        ) from error


async def _limited(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    n_bytes = 0
    async for chunk in request.stream():
        n_bytes += len(chunk)
        if n_bytes > limit:
            raise _too_large(n_bytes, max_bytes)
        yield chunk


def _sorted_parts(form: FormData) -> tuple[dict[str, IO[bytes]], dict[str, str]]:
    files: dict[str, IO[bytes]] = {}
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if name in files or name in fields:
            raise InputError(f"{name!r} was sent twice; expected once.")
        if isinstance(value, UploadFile):
            files[name] = value.file
        else:
            fields[name] = value
    for name in FILES:
        if name in fields:
            raise InputError(f"{name} was sent as text; expected a file with a file name.")
        if name not in files:
            raise InputError(f"no file named {name}; expected portrait (an image) and audio (speech).")
    misplaced = sorted(set(files) - set(FILES))
    if misplaced:
        raise InputError(f"unknown file {', '.join(map(repr, misplaced))}; expected portrait and audio.")
    return files, fields


def _too_large(n_bytes: int, max_bytes: int) -> LimitExceeded:
    return LimitExceeded(
        f"an upload of {n_bytes} bytes or more; at most {max_bytes} bytes are accepted for both files together. "
        "Send a smaller image or compressed sound."
    )
