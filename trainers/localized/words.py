"""What a model reads of a triple: put together, numbered like the picture, lower-cased and cut.

LSKD's `blip_processors`: lower case, white space made single, 70 words, then a prefix. A pattern
there was meant to take punctuation away and never matches (its signs stand in a group, where a
class was meant), so punctuation stays here as well. A text is at most 128 word pieces long.
Imports harness only.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import DataError
from trainers.localized.triples import Token, Tokens, Triple, text

WORDS = 70
"""Words that are kept."""
PIECES = 128
"""Word pieces that are kept, marks at both ends included."""
STUDENT_PREFIX = "question: "
CRITIC_PREFIX = ""
_BLANKS = re.compile(r"\s{2,}")


def numbers(shown: Sequence[int]) -> dict[int, str]:
    """Return what is written for each region: its position among those that are drawn, `[0]`."""
    return {id: f"[{position}]" for position, id in enumerate(shown)}


def statement(triple: Triple, shown: Sequence[int], *, rationale: bool = True) -> str:
    """Return `question Answer: ... Rationale: ...` with the numbers of the drawn regions.

    Raises:
        DataError: The text mentions a region that is not drawn.
    """
    try:
        return text(triple, numbers(shown), rationale=rationale)
    except KeyError as error:
        raise DataError(f"triple {triple.id} mentions region {error}, which is not drawn") from None


def prepared(said: str, prefix: str = "", words: int = WORDS) -> str:
    """Return `said` as a model reads it: lower case, at most `words` words, after `prefix`.

    `words` 0: not cut.
    """
    plain = _BLANKS.sub(" ", said.lower()).strip(" \n")
    parts = plain.split(" ")
    return prefix + (" ".join(parts[:words]) if words and len(parts) > words else plain)


def renumbered(said: Iterable[Token], places: Mapping[int, int]) -> Tokens:
    """Return tokens with each region id replaced; the inverse mapping brings them back.

    Raises:
        DataError: An id is not in `places`.
    """
    out: list[Token] = []
    for token in said:
        if not isinstance(token, str):
            missing = [id for id in token if id not in places]
            if missing:
                raise DataError(f"region {missing[0]} has no new number")
            token = tuple(places[id] for id in token)
        out.append(token)
    return tuple(out)
