"""What a report says about a run besides its numbers: quality, provenance, how to repeat it.

Everything comes from run.json and the rows. Standard library and the page's own parts.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports._page_numbers import NONE, share, show
from reports._page_read import Run
from reports.prices import Prices, tokens

AMBER = 0.01
"""Share of answers beyond which a quality figure is marked."""
_QUALITY = (
    ("unparsed", "answers that the rule could not read; they have the official score for that"),
    ("failed", "no answer: a broken image, a dead server, a bug; never a score"),
    ("missing", "no answer in the recorded file; never a score"),
    ("unjudged", "answers without a readable verdict; never a score"),
    ("truncated", "answers cut at the limit of tokens"),
    ("refused", "answers that the model's server marked as refused"),
)


@dataclass(frozen=True)
class Fact:
    """A count with what it means."""

    name: str
    count: int
    share: str
    amber: bool
    help: str


def quality(run: Run) -> list[Fact]:
    """Return coverage, then everything that can be wrong with answers, zeros included."""
    total = run.record.counts["total"]
    found = dict(run.record.counts)
    stops = Counter((row["answer"] or {}).get("stop") for row in run.rows)
    found |= {"truncated": stops["length"], "refused": stops["refused"]}
    done = found.get("scored", 0) + found.get("unparsed", 0)
    facts = [
        Fact(
            "coverage", done, share(done, total), done < (1 - AMBER) * total, f"of {total:,} asked"
        )
    ]
    for name, text in _QUALITY:
        count = found.get(name, 0)
        facts.append(Fact(name, count, share(count, total), count > AMBER * total, text))
    return facts


def command(run: Run) -> str:
    """Return the command line that repeats the run."""
    info = run.info
    words = [
        "sightline",
        "run",
        "--model",
        info["model"]["address"],
        "--task",
        info["task"]["name"],
    ]
    if info["source"]["address"]:
        words += ["--data", info["source"]["address"]]
    for name, value in sorted((info["model"].get("options") or {}).items()):
        words += ["--option", f"{name}={_word(value)}"]
    if info.get("limit"):
        words += ["--limit", str(info["limit"])]
    if info.get("seed"):
        words += ["--seed", str(info["seed"])]
    for judge in (info.get("judging") or {}).get("judges") or ():
        words += ["--judge", judge["address"]]
    return shlex.join(map(str, words))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def provenance(run: Run, price: Prices | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the facts of the card in titled groups; nothing is left out silently."""
    info = run.info
    environment, source, task = info["environment"], info["source"], info["task"]
    decoding = ", ".join(f"{key} {_plain(value)}" for key, value in task["decoding"].items())
    git = environment.get("git") or {}
    commit = (
        f"{git['commit']}{' with uncommitted changes' if git.get('dirty') else ''}"
        if git
        else "unknown"
    )
    groups = [
        ("run", [
            ("id", info["id"]),
            ("status", info["status"]),
            ("started", info["started"]),
            ("finished", info.get("finished") or NONE),
            ("wall time", f"{show(info.get('seconds'), 1)} s"),
            ("seed", str(info["seed"])),
            ("limit", str(info["limit"] or "none")),
            *_spent(run, price),
        ]),
        ("model", [
            ("address", info["model"]["address"]),
            *((name, _plain(value)) for name, value in _flat(info["model"]["description"])),
        ]),
        ("task", [
            ("name", f"{task['name']}, version {task['version']}"),
            ("scorer", task["scorer"]),
            ("asked by", task["ask"]),
            ("decoding", decoding),
            ("headline", task["headline"]),
            ("chance", show(task["chance"]) if task["chance"] is not None else "not known"),
        ]),
        ("data", [
            ("address", source["address"]),
            ("version", source["version"] or "not a published version"),
            ("split", source["split"] or NONE),
            ("licence", source["license"] or "not stated"),
            *((f"sha256 of {name}", digest) for name, digest in sorted(source["files"].items())),
        ]),
        ("judge", _judging(info.get("judging"))),
        ("fingerprint", sorted((k, _plain(v)) for k, v in info["fingerprint"].items())),
        ("machine", [
            ("system", f"{environment['system']}, python {environment['python']}"),
            ("processor", f"{environment.get('cpu') or '?'}, {environment.get('cores')} cores"),
            ("accelerators", ", ".join(environment.get("accelerators") or ()) or "none used"),
            ("git", commit),
            ("packages", ", ".join(f"{k} {v}" for k, v in sorted(environment["packages"].items()))),
            ("typed", shlex.join(environment.get("command") or ())),
        ]),
    ]  # fmt: skip
    return [(title, list(facts)) for title, facts in groups if facts]


def _spent(run: Run, price: Prices | None) -> list[tuple[str, str]]:
    """Return the tokens of the run, and its price where prices were given."""
    counts, found = tokens(run), []
    if counts is not None:
        found.append(("tokens", f"{counts[0]:,} in, {counts[1]:,} out"))
    if price is not None:
        cost = price.of(run)
        text = "not known" if cost is None else (
            f"{cost.total:,.4g} {price.currency} ({cost.told}; {price.name} {price.digest})"
        )  # fmt: skip
        found.append(("price", text))
    return found


def _judging(section: Mapping[str, Any] | None) -> Sequence[tuple[str, str]]:
    if not section or "counts" not in section:
        return ()
    counts, rubric = section["counts"], section["rubric"]
    tokens = (section.get("tokens_in") or 0) + (section.get("tokens_out") or 0)
    return [
        ("judge", ", ".join(judge["address"] for judge in section["judges"])),
        ("rubric", f"{rubric['name']}@{rubric['version']}"),
        ("votes", str(section["votes"])),
        ("readable", f"{counts['readable']:,} of {counts['verdicts']:,}"),
        ("calls", f"{section['calls']:,}, {counts['cached']:,} from the cache"),
        ("tokens", f"{tokens:,}"),
        ("price", "not known" if section.get("cost") is None else f"{section['cost']:.4f}"),
    ]


def _flat(value: Mapping[str, Any], name: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, inner in sorted(value.items()):
        inner_name = f"{name}.{key}" if name else str(key)
        if isinstance(inner, Mapping) and inner:
            found += _flat(inner, inner_name)
        else:
            found.append((inner_name, inner))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None or value == {} else str(value)
