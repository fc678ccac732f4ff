"""A headless Chromium with the network off, for tests of pages.

Debian's package `chromium` and the Python package `playwright` are needed (`playwright install` is
not); tests say so and are skipped where one of them is absent.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def program() -> str:
    """Return where Chromium is; skip the test where it is not."""
    found = os.environ.get("SIGHTLINE_CHROMIUM") or shutil.which("chromium")
    if not found or not Path(found).exists():
        pytest.skip("no Chromium here: apt-get install chromium, or set SIGHTLINE_CHROMIUM")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """Start a browser."""
    pytest.importorskip("playwright", reason="no playwright here: pip install playwright")
    path = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=ARGS)
        try:
            yield chromium
        finally:
            chromium.close()


class Tab:
    """One page opened from file://, with what it asked for and what went wrong."""

    def __init__(self, chromium: Any, file: Path, hash: str = "", **options: Any) -> None:
        self.context = chromium.new_context(**options)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.context.route("**/*", self._gate)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.file = file
        self.page.goto(file.as_uri() + hash)

    def _gate(self, route: Any) -> None:
        if route.request.url.partition("#")[0] == self.file.as_uri():
            route.continue_()
            return
        self.asked.append(route.request.url)
        route.abort()

    def js(self, code: str) -> Any:
        """Run a script as the developer's console would."""
        return self.page.evaluate(code)

    def until(self, where: str, text: "str | re.Pattern[str]") -> None:
        """Wait until an element has a text (a script in a string would be refused by the page)."""
        from playwright.sync_api import expect

        expect(self.page.locator(where)).to_have_text(text)

    def column(self, table: str, at: int) -> list[str]:
        """Return the texts of a column."""
        cells = self.page.locator(f"{table} tbody tr:not([aria-hidden]) > :nth-child({at})")
        return [text.strip() for text in cells.all_text_contents()]

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.asked == [] and self.wrong == [], (self.asked, self.wrong)
