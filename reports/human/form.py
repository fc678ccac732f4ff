"""Forms for people: one HTML file per annotator, and the key that the organiser keeps.

A form holds questions, pictures and answers, and nothing that says whose an answer is: models,
sample ids and the seed stand in key.json alone. The order of items, and the sides of each pair, are
drawn per annotator from hashes of the seed and of the sources' rows, so that whoever has the form
and this code cannot work them out, and whoever has the sources gets the same bytes again. Security
policy, escaping and the network are those of reports/_page_shell.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import fingerprint
from harness.errors import DataError, UsageError
from reports._page_shell import HERE, _asset, _hash, block
from reports.human.criteria import Criterion
from reports.human.items import Drawn, Item, Source
from reports.human.pictures import collect, looked_in
from reports.thumbnails import Thumbnail

FORM = "sightline.human-form/1"
KEY = "sightline.human-key/1"
SIDE = 1024
"""Longest side of a picture in a form, in pixels."""
_TOLD = ("name", "address", "digest", "pictures")


@dataclass(frozen=True)
class Plan:
    """How a batch is asked."""

    criteria: Sequence[Criterion]
    annotators: int = 3
    votes: int = 0
    """Annotators who see each item; 0: all of them."""
    seed: int = 0
    images: str = "embed"
    """`embed` (look where the data came from), `none`, or a folder."""
    side: int = SIDE

    @property
    def each(self) -> int:
        """Annotators who see each item."""
        return self.votes or self.annotators

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that make no batch."""
        if not 1 <= self.annotators <= 1000:
            raise UsageError(f"--annotators is {self.annotators}; 1 to 1000")
        if not 0 <= self.votes <= self.annotators:
            raise UsageError(f"--votes is {self.votes}; at most --annotators ({self.annotators})")
        if not 64 <= self.side <= 4096:
            raise UsageError(f"--side is {self.side}; 64 to 4096 pixels")


def make(sources: Sequence[Source], drawn: Drawn, plan: Plan, out: Path) -> dict[str, Any]:
    """Write forms/annotator-<n>.html and key.json below `out`; return the key.

    Raises UsageError where `out` holds a batch already, DataError where pictures are missing.
    """
    if (out / "key.json").exists():
        raise UsageError(f"{out} holds a batch already: its key would be lost; name another --out")
    if not drawn.items:
        raise DataError(
            f"all {len(drawn.same):,} drawn pairs are the same words: there is nothing to ask"
        )
    salt = fingerprint.digest([plan.seed, [source.digest for source in sources]], length=64)
    items = {_lot(salt, item.content)[:12]: item for item in drawn.items}
    if len(items) < len(drawn.items):
        raise DataError("two items of the batch have the same hash; take another --seed")
    folders = looked_in(plan.images, [source.pictures for source in sources])
    wanted = dict(picture for item in drawn.items for picture in item.pictures)
    pictures = collect(folders, wanted, plan.side)
    batch = _lot(salt, "batch", *[fingerprint.digest(c.as_data()) for c in plan.criteria], *items)
    kind = "pairwise" if len(drawn.items[0].sources) == 0 else "likert"
    key: dict[str, Any] = {
        "schema": KEY,
        "batch": batch[:12],
        "kind": kind,
        "seed": plan.seed,
        "votes": plan.each,
        "triples": all(source.triples for source in sources),
        "criteria": [criterion.as_data() for criterion in plan.criteria],
        "sources": [{name: getattr(source, name) for name in _TOLD} for source in sources],
        "counts": {
            "eligible": drawn.eligible, "asked": len(drawn.items), "same": len(drawn.same),
            "left_out": dict(drawn.left_out),
        },
        "items": {name: asdict(item) for name, item in items.items()},
        "same": [{"id": item.id, "cluster": item.cluster} for item in drawn.same],
        "forms": [],
    }  # fmt: skip
    forms = out / "forms"
    try:
        forms.mkdir(parents=True, exist_ok=True)
        for who, seen in _assigned(salt, items, plan).items():
            data, places = _form(key, items, seen, who, salt, pictures)
            path = forms / f"annotator-{who}.html"
            path.write_bytes(_page(data).encode("utf-8"))
            told = {"annotator": who, "file": f"forms/{path.name}", "digest": data["form"]}
            key["forms"].append({**told, "items": places})
        text = json.dumps(key, indent=1) + "\n"
        (out / "key.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    return key


def _lot(salt: str, *words: str) -> str:
    return sha256("\0".join((salt, *words)).encode("utf-8", "surrogatepass")).hexdigest()


def _assigned(salt: str, items: Mapping[str, Item], plan: Plan) -> dict[str, list[str]]:
    """Return each annotator's items in the order in which that one sees them."""
    people = [str(number) for number in range(1, plan.annotators + 1)]
    found: dict[str, list[str]] = {who: [] for who in people}
    for at, name in enumerate(sorted(items, key=lambda name: _lot(salt, name, "who"))):
        for turn in range(plan.each):
            found[people[(at + turn) % len(people)]].append(name)
    return {
        who: sorted(names, key=lambda name: _lot(salt, name, "order", who))
        for who, names in found.items()
        if names
    }


def _form(
    key: Mapping[str, Any],
    items: Mapping[str, Item],
    seen: Sequence[str],
    who: str,
    salt: str,
    pictures: Mapping[str, Thumbnail],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the data of one form, and what the key says of its items."""
    shown: list[dict[str, Any]] = []
    places: list[dict[str, Any]] = []
    names = sorted({n for k in seen for n, _ in items[k].pictures if n in pictures})
    at = {name: number for number, name in enumerate(names)}
    for name in seen:
        item = items[name]
        swapped = key["kind"] == "pairwise" and int(_lot(salt, name, "side", who), 16) % 2 == 1
        texts = item.texts[::-1] if swapped else item.texts
        shown.append({
            "key": name,
            "q": item.question,
            "t": texts,
            "p": [at.get(picture, -1) for picture, _ in item.pictures],
            "r": item.regions,
        })  # fmt: skip
        places.append({"key": name, "swapped": swapped})
    data: dict[str, Any] = {
        "schema": FORM,
        "batch": key["batch"],
        "annotator": who,
        "kind": key["kind"],
        "criteria": key["criteria"],
        "items": shown,
        "pictures": [list(asdict(pictures[name]).values()) for name in names],
    }
    return {**data, "form": sha256(block(data).encode()).hexdigest()}, places


def _page(data: Mapping[str, Any]) -> str:
    """Return the file of one form."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([HERE / "templates"]), autoescape=True, undefined=StrictUndefined
    )
    css, js = (_asset(name) for name in ("human.css", "human.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    shell = {"css": Markup(css), "js": Markup(js), "policy": Markup(policy)}
    values = {**data, "count": len(data["items"]), "data": Markup(block(data))}
    return environment.get_template("human.html.j2").render({**values, **shell})
