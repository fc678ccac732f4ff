"""The shell of a page: one file, no requests, nothing that a model wrote is ever markup.

Templates are Jinja2 with autoescape; data for the script go into a block of JSON in which `<`, `>`
and `&` are escaped; the security policy admits the one style sheet and the one script by hash.
Shared by reports/page.py and leaderboards/build.py. Imports jinja2 when a page is made.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from reports import _page_numbers as numbers
from reports.comparable import short as short_address

HERE = Path(__file__).resolve().parent
SCHEMA = 1
"""Of the JSON inside a page and of what its export buttons write."""


def render(template: str, values: Mapping[str, Any], *folders: Path) -> str:
    """Return a page. `folders` hold further templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([HERE / "templates", *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("show", "signed", "interval", "p_value", "share", "short"):
        environment.filters[name] = getattr(numbers, name)
    environment.filters["model"] = short_address
    environment.filters["dash"] = lambda text: numbers.NONE if text == "-" else minus(text)
    environment.filters["signs"] = lambda text: re.sub(r"(?<![\w-])-(?=\d)", minus("-"), text)
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=1)
    environment.filters["json"] = lambda value: Markup(block(value))
    css, js = (_asset(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    shell = {"css": Markup(css), "js": Markup(js), "policy": Markup(policy), "schema": SCHEMA}
    page = environment.get_template(template).render({**values, **shell})
    return page.encode("utf-8", "backslashreplace").decode("utf-8")  # half surrogates


def minus(text: str) -> str:
    """Return a number's text with the sign that people read."""
    return text.replace("-", "\N{MINUS SIGN}")


def block(value: Any) -> str:
    """Return JSON that cannot end the script element that holds it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    """Return a file of ours as it stands between its tags (line ends as a parser sees them)."""
    text = (HERE / "static" / name).read_text(encoding="utf-8").replace("\r\n", "\n")
    if "</" + "script" in text or "</" + "style" in text or "<!--" in text:
        raise ValueError(f"{name} cannot stand inside a page")
    return text


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
