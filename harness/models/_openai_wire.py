"""One OpenAI-compatible server: requests out, JSON in, every kind of trouble given its name.

Wire format: the public OpenAI API reference (chat/completions, completions). Retrying is the
business of harness/models/_http.py: the retries of the `openai` package are off. Imports the
standard library, harness.errors, harness.types and, when first used, `openai` and PIL.
"""

import asyncio
import json
import re
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from harness.errors import DataError, RunStopped, SightlineError, UsageError
from harness.models._http import Retry, retry_after
from harness.types import Image

T = TypeVar("T")

OPENAI = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]{6,}")
"""Servers quote parts of a key in their errors."""
_CACHE_BYTES = 64 * 2**20


class Refused(Exception):
    """The server will not answer this request, however often it is asked."""


class Malformed(Exception):
    """A reply that is not what the API promises."""


_SHAPE_ERRORS = (
    *(Malformed, LookupError, AttributeError, TypeError, ValueError, ArithmeticError),
    RecursionError,  # JSON nested a hundred thousand deep
)


class Wire:
    """Posts JSON to one server. Holds the key, and keeps it out of every message."""

    def __init__(self, base_url: str, key: str, timeout: float) -> None:
        """`timeout`: seconds for one request as a whole."""
        self.base_url = base_url
        self.reached = False
        """Whether any request was answered with 200 so far."""
        self._key, self._timeout = key, timeout

    def client(self) -> Any:
        """Make an `openai.AsyncOpenAI`, an async context manager for the running event loop."""
        import openai

        local = (urlsplit(self.base_url).hostname or "") in ("localhost", "127.0.0.1", "::1")
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.base_url,
            max_retries=0,
            timeout=openai.Timeout(self._timeout, connect=min(_CONNECT_SECONDS, self._timeout)),
            # A proxy of the environment cannot reach a server on this machine.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if local else None,
        )

    async def post(
        self, client: Any, path: str, body: Mapping[str, Any], read: Callable[[Any], T]
    ) -> tuple[T, float]:
        """Post once; return what `read` makes of the decoded reply, and the seconds it took.

        Raises Retry, Refused (also for a prompt that is not Unicode) or, when no request can
        succeed, a SightlineError. `read` raises Malformed, or what comes of reading a wrong shape
        (KeyError, AttributeError and so on); such a request is worth another attempt.
        """
        import openai

        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                raw: bytes = await client.post(path, cast_to=bytes, body=dict(body))
        except (TimeoutError, openai.APITimeoutError):
            raise Retry(f"no reply within {self._timeout:g} s", crowded=True) from None
        except openai.APIStatusError as error:
            self._judge(error)
        except openai.APIConnectionError as error:
            raise Retry(self.plain(f"connection failed: {_cause(error)}")) from None
        except UnicodeEncodeError as error:
            raise Refused(f"the prompt holds text that is not Unicode: {error.reason}") from None
        seconds = time.monotonic() - started
        try:
            reply = json.loads(raw)
            if not isinstance(reply, dict):
                raise Malformed("not a JSON object")
            if reply.get("error"):
                raise Malformed(_message(reply))
            result = read(reply)
        except _SHAPE_ERRORS as error:
            what = "" if isinstance(error, Malformed) else f"{type(error).__name__}: "
            raise Retry(self.plain(f"unusable reply: {what}{error}")) from None
        self.reached = True
        return result, seconds

    def _judge(self, error: Any) -> NoReturn:
        """Turn a status that is not 200 into Retry, Refused or the end of the run."""
        status: int = error.status_code
        said = self.plain(_message(error.body)) or "no message"
        text = f"HTTP {status}: {said}"
        if status == 429 and getattr(error, "code", None) == "insufficient_quota":
            raise self._end(f"{self.base_url}: the quota of this key is used up. {text}") from None
        if status in (408, 409, 425, 429) or status >= 500:
            headers = error.response.headers
            after = retry_after(headers.get("retry-after-ms"), headers.get("retry-after"))
            raise Retry(text, after, crowded=status in (408, 429, 503, 504)) from None
        if status in (401, 402):
            raise self._end(
                f"{self.base_url} does not accept the key. {text}. Check the variable that holds "
                "it (option api_key_env, default OPENAI_API_KEY), its account, and base_url."
            ) from None
        if status in (403, 404, 405) and not self.reached:
            raise self._end(
                f"{self.base_url} refuses the first request. {text}. Check the model's name, "
                "base_url (it usually ends in /v1) and what the key may use."
            ) from None
        raise Refused(text) from None

    def _end(self, text: str) -> SightlineError:
        return RunStopped(f"{text} Then go on with --resume.") if self.reached else UsageError(text)

    def plain(self, text: str, limit: int = 400) -> str:
        """Make a server's words fit for a message: one line, printable, short, without the key."""
        text = self.hide(text[: 4 * limit])
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def hide(self, text: str) -> str:
        """Replace the key, and what looks like a part of one, in a message."""
        return _KEY_LIKE.sub("[key]", self.without_key(text))

    def without_key(self, text: str) -> str:
        """Replace the key itself, should a server send it back; other text is left alone."""
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text


def unicode(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and no file can hold, by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def check_url(text: str) -> str:
    """Return a base URL without its last slash. Raises UsageError for one that cannot be used."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError("base_url must look like http://localhost:8000/v1 or https://host/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "base_url must not hold a user, a password or anything behind '?' or '#': it is "
            "written into the record. Put the key into an environment variable (api_key_env)"
        )
    return text.rstrip("/")


class DataUrls:
    """Images as data URLs with their original bytes; each encoded once while it is in use."""

    def __init__(self) -> None:
        """Start empty. Not thread-safe: used from one thread."""
        self.reencoded = 0
        self._known: OrderedDict[Image, str] = OrderedDict()
        self._size = 0

    def of(self, image: Image) -> str:
        """Return the data URL. Raises DataError when the image cannot be read."""
        url = self._known.get(image)
        if url is None:
            data = image.read()
            mime = _mime(data)
            if mime is None:
                data, mime = _as_png(image.name, data), "image/png"
                self.reencoded += 1
            url = f"data:{mime};base64,{b64encode(data).decode('ascii')}"
            self._known[image] = url
            self._size += len(url)
            while self._size > _CACHE_BYTES and len(self._known) > 1:
                self._size -= len(self._known.popitem(last=False)[1])
        self._known.move_to_end(image)
        return url


def _mime(data: bytes) -> str | None:
    """Media type by magic bytes, of the formats that servers accept."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _as_png(name: str, data: bytes) -> bytes:
    """Re-encode an image of another format, without loss where PNG has its mode."""
    from io import BytesIO

    from PIL import Image as Pillow

    out = BytesIO()
    try:
        with Pillow.open(BytesIO(data)) as picture:
            modes = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
            (picture if picture.mode in modes else picture.convert("RGB")).save(out, "PNG")
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DataError(f"image {name}: cannot be decoded: {error}") from error
    return out.getvalue()


def _message(body: Any) -> str:
    """Find the sentence for people in an error body, whoever's dialect it is."""
    for key in ("error", "message", "detail"):
        if isinstance(body, Mapping) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else json.dumps(body, default=str) if body else ""


def _cause(error: BaseException) -> str:
    """Name what lies below the package's "Connection error."."""
    inner = error.__cause__ or error
    return f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__
