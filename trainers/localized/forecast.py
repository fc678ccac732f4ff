"""What LSKD's teachers will cost, before they are asked.

Calls are counted exactly as an upper bound (nothing in the cache, no early stop, no retry); tokens
are letters / 4 of the real prompts where they are known, and a guess where a later call depends on
an earlier reply. May import harness and trainers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.types import Sample
from trainers.localized import describe, questions
from trainers.localized.describe import BANKS
from trainers.localized.generate import Writing, request
from trainers.localized.questions import FOLDER
from trainers.localized.verbal import Seen, Verbal

TRIPLE = 90
"""Tokens of one triple in a reply: about 70 words."""
_LETTERS = 4
"""Letters of a token of English."""
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """What one part asks for."""

    part: str
    calls: int
    images: int
    """Pictures that are sent."""
    tokens_in: int
    tokens_out: int
    """As many as are likely."""
    most_out: int
    """As many as the limit of each reply allows."""


def _tokens(text: str) -> int:
    return -(-len(text) // _LETTERS)


def _sample(sample: Sample) -> int:
    return _tokens(sample.system + "".join(part for part in sample.prompt if isinstance(part, str)))


def verbalising(pictures: int, regions: int, parts: Iterable[str], banks: Iterable[str],
                narratives: int, asked: int) -> list[Row]:  # fmt: skip
    """Return what stage 1 asks for.

    Args:
        pictures: How many.
        regions: Of all pictures together.
        parts: Names of `verbalise.PARTS` that are played.
        banks: Label banks in use.
        narratives: For each picture.
        asked: Questions for each picture.
    """
    parts, rows = set(parts), []
    if "clip" in parts:
        calls = pictures * len([name for name in banks if name in BANKS])
        rows.append(Row("clip", calls, calls, 0, 0, 0))
    if "captioner" in parts:
        calls, most = pictures * narratives, describe.NARRATING.max_tokens
        said = _tokens(describe.NARRATE) * calls
        rows.append(Row("captioner", calls, calls, said, calls * most // 2, calls * most))
    if "region-captioner" in parts:
        most = describe.REGIONAL.max_tokens
        said = _tokens(describe.REGION) * regions
        rows.append(Row("region-captioner", regions, regions, said, regions * 12, regions * most))
    if "asker" in parts:
        calls = pictures * asked
        known = 60 + (80 * narratives if "captioner" in parts else 0) + 12 * regions // pictures
        rules = _tokens((FOLDER / "ask.txt").read_text(encoding="utf-8"))
        grown = 20 * (asked - 1) // 2  # each question is shown all earlier ones
        most = questions.ASKING.max_tokens
        rows.append(
            Row("asker", calls, 0, calls * (rules + known + grown), calls * 12, calls * most)
        )
        most = questions.ANSWERING.max_tokens
        rows.append(Row("answerer", calls, calls, calls * 20, calls * 4, calls * most))
    return rows


def generating(pictures: Sequence[Verbal], how: Writing) -> list[Row]:
    """Return what stage 2 asks for, by style; a later round shows the triples of the earlier."""
    rows = []
    for style in how.styles:
        first = sum(_sample(request(one, style, 0, (), how)) for one in pictures)
        calls = len(pictures) * how.rounds
        shown = TRIPLE * how.each * how.rounds * (how.rounds - 1) // 2
        rows.append(
            Row(f"teacher, {style}", calls, 0, first * how.rounds + shown * len(pictures),
                calls * how.each * TRIPLE, calls * how.max_tokens)
        )  # fmt: skip
    return rows


def example(regions: int, narratives: int, asked: int) -> Verbal:
    """Return a made-up picture in words, as long as a usual one, for forecasts without files."""
    seen = tuple(Seen(at, (0, 0, 10, 10), "w" * 8, "w" * 48) for at in range(regions))
    return Verbal(
        "0", "0", 10, 10, "", regions=seen, places=("w" * 12,) * 2, objects=("w" * 12,) * 3,
        concepts=("w" * 12,) * 3, narratives=("w" * 300,) * narratives,
        questions=(("w" * 40, "w" * 16),) * asked,
    )  # fmt: skip


def scaled(rows: Iterable[Row], pictures: int) -> list[Row]:
    """Return rows about one picture as rows about many."""
    return [
        Row(one.part, one.calls * pictures, one.images * pictures, one.tokens_in * pictures,
            one.tokens_out * pictures, one.most_out * pictures)
        for one in rows
    ]  # fmt: skip


def prices(words: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Read PART=IN,OUT words: money for a million tokens in prompts and in replies.

    Raises UsageError.
    """
    found: dict[str, tuple[float, float]] = {}
    for word in words:
        part, _, both = word.partition("=")
        try:
            price_in, price_out = (float(price) for price in both.split(","))
            if not part or not (0 <= price_in < 1e9 and 0 <= price_out < 1e9):
                raise ValueError
        except ValueError:
            raise UsageError(
                f"--price takes PART=IN,OUT, money for a million tokens (teacher=0.5,1.5); found "
                f"'{word}'"
            ) from None
        found[part] = (price_in, price_out)
    return found


def table(rows: Sequence[Row], known: Mapping[str, tuple[float, float]]) -> str:
    """Return the forecast as text, with money where a part has a price.

    A price is that of the part, or of what stands before a comma in its name. Raises UsageError
    for the price of a part that is not asked.
    """
    unused = set(known) - {_short(row) for row in rows}
    if unused:
        raise UsageError(
            f"--price names {', '.join(sorted(unused))}; asked are "
            f"{', '.join(sorted({_short(row) for row in rows}))}"
        )
    lines, total = [], 0.0
    for row in rows:
        said = (f"{row.part}: {row.calls:,} calls, {row.images:,} pictures, about "
                f"{row.tokens_in:,} tokens in and {row.tokens_out:,} out (at most "
                f"{row.most_out:,})")  # fmt: skip
        price = known.get(_short(row))
        if price:
            money, most = (_money(row.tokens_in, out, price)
                           for out in (row.tokens_out, row.most_out))  # fmt: skip
            total += money
            said += f"; about {money:,.2f}, at most {most:,.2f} without retries"
        lines.append(said)
    if known:
        lines.append(f"all that has a price: about {total:,.2f}")
    lines.append(
        "tokens: letters / 4, pictures not counted; what is in the cache already is not asked again"
    )
    return "\n".join(lines)


def _short(row: Row) -> str:
    return row.part.partition(",")[0]


def _money(tokens_in: int, tokens_out: int, price: tuple[float, float]) -> float:
    return (tokens_in * price[0] + tokens_out * price[1]) / _MILLION
