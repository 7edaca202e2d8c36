"""One submission of the form to the gateway's HTTP API; the answer is a job, or a problem with a code."""

import json
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from gateway.demo.proxy import unreachable
from gateway.errors import problem, status_of

MISSING = {
    "portrait": ("missing_portrait", "there is no portrait yet."),
    "audio": ("missing_speech", "there is no speech yet."),
}
Answer = dict[str, Any]


async def submit(client: httpx.AsyncClient, files: dict[str, str | None], options: dict[str, str]) -> Answer:
    """Create a job.

    Args:
        client: of the gateway.
        files: paths of ``portrait`` and ``audio``; None where nothing was chosen.
        options: form fields of the API; empty ones are left to the gateway's defaults.

    Returns:
        {"job": resource} or {"problem": RFC 9457 object}, with ``retry_after_s`` when the gateway said when.
    """
    for name, path in files.items():
        if path is None:
            code, detail = MISSING[name]
            return {"problem": problem(code, detail, retryable=False, status=HTTPStatus.UNPROCESSABLE_ENTITY)}
    with ExitStack() as opened:
        parts = {
            name: (Path(path).name, opened.enter_context(Path(path).open("rb")))  # noqa: ASYNC230 - local disk
            for name, path in files.items()
            if path is not None
        }
        fields = {name: value for name, value in options.items() if value.strip()}
        try:
            response = await client.post("/v1/jobs", data=fields, files=parts)
        except httpx.TransportError as error:
            away = unreachable(error)
            return {"problem": problem(away.code, away.message, retryable=True, status=status_of(away))}
    return _answer(response)


def _answer(response: httpx.Response) -> Answer:
    try:
        # Seeds have up to 63 bits, more than a number in a browser: they travel as text.
        body = json.loads(response.content, parse_int=_browser_safe)
    except ValueError:
        body = {}
    if response.is_success and "id" in body:
        return {"job": body}
    if "code" not in body:
        body = problem(
            "gateway_unreachable", f"HTTP {response.status_code}.", retryable=True, status=response.status_code
        )
    seconds = response.headers.get("Retry-After", "")
    return {"problem": body, **({"retry_after_s": int(seconds)} if seconds.isdigit() else {})}


def _browser_safe(digits: str) -> int | str:
    return int(digits) if len(digits) <= 15 else digits
