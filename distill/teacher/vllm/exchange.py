"""One exchange over HTTP with a server that may be slow, broken or hostile: bounded in time and in size."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

from curate.errors import TeacherError, shortened

if TYPE_CHECKING:
    import httpx2

MAX_RESPONSE_BYTES = 64 << 20  # 128,000 tokens of a prompt with their probabilities have some 20 MB
PLAIN = {"Accept-Encoding": "identity"}  # a kilobyte of a compressed response may unpack to gigabytes


class Failed(Exception):
    """A server did not answer, this time."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait  # seconds that the server asked for


async def exchange(
    http: "httpx2.AsyncClient", method: str, url: str, seconds: float, body: object = None
) -> "httpx2.Response":
    """Send a request and read the whole response; `seconds` are for all of it, however slowly its bytes come.

    Errors: Failed; TeacherError for a redirect, as the request's text, and perhaps its key, are for this server alone.
    """
    import httpx2

    try:
        async with asyncio.timeout(seconds), http.stream(method, url, json=body, headers=PLAIN) as response:
            if response.is_redirect:
                place = shortened(response.headers.get("location", ""))
                raise TeacherError(
                    f"teacher: {url}: {response.status_code}: redirects to {place!r}, which is not followed; name that "
                    "server in teacher.vllm.urls if you trust it"
                )
            if coding := response.headers.get("content-encoding"):
                raise Failed(f"a response in the encoding {shortened(coding)!r}, which was not asked for")
            content = await _content(response)
    except (TimeoutError, httpx2.TimeoutException):
        raise Failed(f"no answer within {seconds:g} s") from None
    except httpx2.HTTPError as error:
        raise Failed(str(error) or type(error).__name__) from None
    return httpx2.Response(response.status_code, headers=response.headers, content=content)


async def _content(response: "httpx2.Response") -> bytes:
    """A response's bytes.

    Errors: Failed where they are more than any answer has.
    """
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > MAX_RESPONSE_BYTES:
            raise Failed(f"a response of more than {MAX_RESPONSE_BYTES >> 20} MB, which no answer has")
    return bytes(content)


def json_of(response: "httpx2.Response") -> Any:  # noqa: ANN401 - any JSON
    """The response's JSON.

    Errors: ValueError where it has none, or has a number (NaN, Infinity) or a depth that JSON does not.
    """
    try:
        return json.loads(response.content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
