"""A judge model's verdicts on a batch as votes, so that they make the same table as people's.

The file holds lines as in a run's verdicts.jsonl (harness/verdicts.py), `id` being the item's key
and `stats` one number per criterion: a rating, or 1 (a), 0 (tie), -1 (b) for pairs, with the sides
put right already. Both orders of a pair make one vote; where they differ it is a tie: a judge whose
verdict follows the place prefers neither. Unreadable lines are no votes. Reads one jsonl file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import verdicts
from harness.errors import DataError
from harness.record import read_lines
from reports.human.answers import Key, Vote
from reports.human.table import Said, said

_OUTCOME = {1.0: "a", 0.0: "tie", -1.0: "b"}


def read(path: Path, key: Key) -> Said:
    """Return a judge's votes. Raises DataError where the file is not about this batch."""
    if not path.is_file():
        raise DataError(f"{path}: no file of verdicts")
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    votes = 0
    try:
        for (item, vote, _), line in verdicts.slots(read_lines(path)).items():
            if item not in key.data["items"]:
                raise DataError(f"{path}: the item '{item}' is not of batch {key.data['batch']}")
            lines.setdefault((item, vote), []).append(line)
            votes = max(votes, vote + 1)
        found = [_vote(key, item, vote, asked) for (item, vote), asked in lines.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a file of verdicts on pairs or ratings ({error!r})"
        ) from error
    if not votes:
        raise DataError(f"{path}: no verdicts in it")
    return said([vote for vote in found if vote], votes)


def _vote(key: Key, item: str, vote: int, lines: list[Mapping[str, Any]]) -> Vote | None:
    if not all(verdicts.readable(line) for line in lines):
        return None
    picks: dict[str, str | int] = {}
    for criterion in key.criteria:
        numbers = {float(line["stats"][criterion.name]) for line in lines}
        if key.pairwise:
            outcomes = {_OUTCOME[number] for number in numbers}
            picks[criterion.name] = outcomes.pop() if len(outcomes) == 1 else "tie"
        else:
            rating = numbers.pop()
            if numbers or rating not in key.values(criterion):
                raise ValueError(f"{rating} is no rating of {criterion.name}")
            picks[criterion.name] = int(rating)
    return Vote(item, f"judge {vote}", picks)


def name(path: Path) -> str:
    """Return the judge's address, as judge.json beside the verdicts says it, else the file."""
    try:
        about = json.loads((path.parent / "judge.json").read_text(encoding="utf-8"))
        return " and ".join(str(judge["address"]) for judge in about["judges"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(path)
