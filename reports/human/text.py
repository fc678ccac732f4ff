"""The table of a batch for a terminal and for table.txt. Nothing in it can steer a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.table import number, printable

_LONG = 60
_MEASURES = {
    "agreement": "agreement of pairs",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
}


def text(found: Mapping[str, Any]) -> str:
    """Return what reports/human/table.py found, for people."""
    pairwise = found["kind"] == "pairwise"
    rows = _pairs if pairwise else _ratings
    lines = [*_head(found), "", *rows(found, "people", found["criteria"])]
    judge = found.get("judge")
    if judge:
        lines += ["", printable(f"judge: {judge['name']}", _LONG)]
        lines += rows(found, "judge", judge["criteria"])
    lines += ["", "agreement of people", *_agreement(found["criteria"])]
    if judge:
        if judge["votes"] > 1:
            lines += ["", "agreement of the judge's votes", *_agreement(judge["criteria"])]
        lines += ["", "people and judge", *_together(judge["with_people"])]
    lines += ["", *_annotators(found["annotators"], pairwise=pairwise)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    counts = found["counts"]
    same = f"; {counts['same']:,} pairs of the same words are ties" if counts["same"] else ""
    yield (
        f"batch {found['batch']}: {counts['asked']:,} items asked of {counts['eligible']:,}, "
        f"{found['votes']} votes each{same}"
    )
    for why, n in sorted(counts["left_out"].items()):
        yield printable(f"  left out, {why}: {n:,}")
    letters = ("a", "b") if found["kind"] == "pairwise" else map(str, range(1, 1000))
    for letter, name in zip(letters, found["sources"], strict=False):
        yield printable(f"  {letter}  {name}")


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines with columns under their heads; the first to the left, the others right."""
    table = [head, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(head))]
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]])


def _share(found: Mapping[str, Any]) -> str:
    return _estimate(found, 100.0, 1)


def _estimate(found: Mapping[str, Any], factor: float = 1.0, digits: int = 2) -> str:
    value, low, high = (None if found[k] is None else factor * found[k] for k in _ENDS)
    interval = "" if low is None else f" ({number(low, digits)} to {number(high, digits)})"
    return number(value, digits) + interval


_ENDS = ("value", "low", "high")


def _pairs(
    found: Mapping[str, Any], who: str, criteria: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    head = [f"{who}, %", "a wins", "tie", "b wins", "a - b", "n", "no majority", "too few votes",
            "sign test p", "Holm"]  # fmt: skip
    yield from _grid(head, [
        [
            name, *(_share(row[side]) for side in ("a", "tie", "b", "a_minus_b")),
            *(f"{row[count]:,}" for count in ("n", "no_majority", "too_few_votes")),
            number(row["sign_test"]["p"], 4), number(row["sign_test"]["p_holm"], 4),
        ]
        for name, row in criteria.items()
    ])  # fmt: skip


def _ratings(
    found: Mapping[str, Any], who: str, criteria: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    rows = []
    for name, criterion in criteria.items():
        for at, row in enumerate(criterion["sources"], 1):
            labels = ", ".join(f"{printable(k, 20)} {n:,}" for k, n in row["majority"].items())
            open_ = f"{row['no_majority']:,}"
            rows.append([name, str(at), _estimate(row["mean"]), f"{row['mean']['n']:,}",
                         f"{row['unrated']:,}", labels, open_])  # fmt: skip
    yield from _grid([who, "source", "mean", "n", "unrated", "majority", "no majority"], rows)
    if who == "people":
        for at, share in enumerate(found["accepted"], 1):
            yield f"accepted (no vote is the lowest, on any line), source {at}: {_share(share)} %"
    for name, criterion in criteria.items():
        for row in criterion["differences"]:
            ends = _estimate({"value": row["b_minus_a"], "low": row["low"], "high": row["high"]})
            sources = printable(f"{row['b']} - {row['a']}")
            yield f"{name}: {sources} {ends}, p {number(row['p'], 4)}"


def _agreement(criteria: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _grid(
        ["", *_MEASURES.values()],
        [[name, *(_estimate(row[m]) for m in _MEASURES)] for name, row in criteria.items()],
    )


def _together(criteria: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from _grid(
        ["", "same majority", "Cohen's kappa", "both settled", "in common"],
        [
            [name, _estimate(row["agreement"]), _estimate(row["kappa"]), f"{row['labelled']:,}",
             f"{row['common']:,}"]
            for name, row in criteria.items()
        ],
    )  # fmt: skip


def _annotators(rows: Sequence[Mapping[str, Any]], *, pairwise: bool) -> Iterator[str]:
    head = ["annotator", "asked", "answered", "cannot judge", "median s", "as others"]
    table = [
        [row["annotator"], *(f"{row[name]:,}" for name in ("asked", "answered", "unclear")),
         number(row["median_seconds"], 1), number(row["with_others"])]
        + ([number(row["left"])] if pairwise else [])
        for row in rows
    ]  # fmt: skip
    yield from _grid(head + (["left won"] if pairwise else []), table)
