"""HTTP exchanges with servers that may be slow, broken or hostile: bounded in time and size."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

from curate.errors import TeacherError, shortened

if TYPE_CHECKING:
    import httpx2

MAX_RESPONSE_BYTES = 64 << 20  # log-probabilities of a prompt with 128,000 tokens take about 20 MB
UNCOMPRESSED = {"Accept-Encoding": "identity"}  # a kilobyte of a compressed response may expand to gigabytes


class ServerFailure(Exception):
    """A server did not answer a request; a retry may help."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait  # seconds, as requested by the server


async def exchange(
    http: "httpx2.AsyncClient", method: str, url: str, seconds: float, body: object = None
) -> "httpx2.Response":
    """Send a request and read the whole response within `seconds`, however slowly its bytes arrive.

    Errors: ServerFailure; TeacherError for a redirect, as the request's text and key are only for this server.
    """
    import httpx2

    try:
        async with asyncio.timeout(seconds), http.stream(method, url, json=body, headers=UNCOMPRESSED) as response:
            if response.is_redirect:
                location = shortened(response.headers.get("location", ""))
                raise TeacherError(
                    f"teacher: {url}: {response.status_code}: redirects to {location!r}, which is not followed; name "
                    "that server in teacher.vllm.urls if you trust it"
                )
            if coding := response.headers.get("content-encoding"):
                raise ServerFailure(f"a response in the encoding {shortened(coding)!r}, which was not asked for")
            content = await _content(response)
    except (TimeoutError, httpx2.TimeoutException):
        raise ServerFailure(f"no answer within {seconds:g} s") from None
    except httpx2.HTTPError as error:
        raise ServerFailure(str(error) or type(error).__name__) from None
    return httpx2.Response(response.status_code, headers=response.headers, content=content)


async def _content(response: "httpx2.Response") -> bytes:
    """Read the body of a response.

    Errors: ServerFailure where it is larger than any answer.
    """
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > MAX_RESPONSE_BYTES:
            raise ServerFailure(f"a response of more than {MAX_RESPONSE_BYTES >> 20} MB, which no answer has")
    return bytes(content)


def json_of(response: "httpx2.Response") -> Any:  # noqa: ANN401 - any JSON
    """Parse the response's JSON.

    Errors: ValueError where it is not JSON, contains NaN or Infinity, or is nested too deeply.
    """
    try:
        return json.loads(response.content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
