"""LLaVA with GPT-4 on ScienceQA: complement and judge, from answers that are already there.

    python -m trainers.ensemble --data SCIENCEQA --ours F --gpt4 F --judge F --out result.json

Dissertation, section 3.5 and table 3.7; github haotian-liu/LLaVA llava/eval/eval_science_qa*.py.
`complement`: GPT-4's letter, ours where it gave none. `judge`: where the letters differ GPT-4 is
asked once more with both outcomes; ours where that cannot be read. An answer without exactly one
"The answer is X." gets a random option, as in the released scorer, but drawn from (seed, id), and
counted. Nothing is asked unless --teacher names a model; its words are kept and can be replayed.
The judge's published prompt was not released: UNVERIFIED, `judge_prompt` has our own.
May import harness, judges, tasks and trainers.teacher.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError, SightlineError
from harness.types import Answer, Decoding, Sample
from judges.choice import LETTERS, index, lettered, scienceqa_letter
from tasks._data import read_json, read_jsonl
from tasks._scienceqa_files import Problem, classes, load
from tasks.scienceqa import COLUMNS

PUBLISHED = {"ours": 90.92, "gpt4": 82.69, "complement": 90.97, "judge": 92.53}
"""Table 3.7, averages."""
JUDGE = Decoding(max_tokens=512)
_LABELLED = re.compile(r"ANSWER: ([A-Z])\b")
_ID = ("question_id", "id", "qid")
_TEXT = ("text", "output", "answer", "prediction")


@dataclass(frozen=True)
class Read:
    """Letters that were read from answers."""

    letters: Mapping[str, str]
    """By question; those that could not be read are not in it."""
    unread: tuple[str, ...]
    """Questions whose answer names no option, or several."""


def read(answers: Mapping[str, str], problems: Sequence[Problem]) -> Read:
    """Read a letter from each answer: the one answer sentence, or the one labelled letter.

    Raises DataError when questions have no answer at all.
    """
    missing = [problem.id for problem in problems if problem.id not in answers]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(problems):,} questions have no answer, e.g. "
            f"{', '.join(missing[:3])}"
        )
    letters = {}
    for problem in problems:
        letter = _letter(answers[problem.id])
        if index(letter, len(problem.choices)) >= 0 and letter is not None:
            letters[problem.id] = letter
    unread = tuple(problem.id for problem in problems if problem.id not in letters)
    return Read(letters, unread)


def guessed(found: Read, problems: Iterable[Problem], seed: int) -> dict[str, str]:
    """Return the letters, a random option where none was read: one lot for each question."""
    return {
        problem.id: found.letters.get(problem.id)
        or Random(f"{seed}/{problem.id}").choice(LETTERS[: len(problem.choices)])
        for problem in problems
    }


def complement(ours: Mapping[str, str], gpt4: Read) -> dict[str, str]:
    """Return GPT-4's letters, and ours where it gave none."""
    return {id: gpt4.letters.get(id, letter) for id, letter in ours.items()}


def disagreed(ours: Mapping[str, str], gpt4: Read) -> list[str]:
    """Return the questions on which GPT-4 gave another letter than ours, or none."""
    return [id for id, letter in ours.items() if gpt4.letters.get(id) != letter]


def judge(ours: Mapping[str, str], gpt4: Read, verdicts: Read) -> dict[str, str]:
    """Return the common letter, else the judge's, else ours."""
    asked = set(disagreed(ours, gpt4))
    return {
        id: verdicts.letters.get(id, letter) if id in asked else letter
        for id, letter in ours.items()
    }


def judge_prompt(problem: Problem, ours: str, gpt4: str | None) -> Sample:
    """Return what GPT-4 is asked where it and our model disagree: the question, both outcomes."""
    stem = problem.stem or "\n".join(
        part for part in (problem.question, problem.hint and f"Context: {problem.hint}") if part
    )
    options = "\n".join(lettered(problem.choices, "(", ") "))
    second = f"({gpt4})" if gpt4 else "could not tell"
    text = (
        f"{stem}\n{options}\n\n"
        "Two answers were given to this question. The first comes from a model that sees the "
        "picture, if there is one; the second was written without seeing it.\n"
        f"First answer: ({ours})\nSecond answer: {second}\n\n"
        "Weigh both, reason in a few sentences, decide for yourself, and end with the sentence "
        '"The answer is X." with the letter of one option.'
    )
    return Sample(problem.id, (text,), target=LETTERS[problem.answer])


def score(letters: Mapping[str, str], problems: Sequence[Problem]) -> dict[str, float]:
    """Return accuracies in percent: the average, and the official columns that can be had."""
    right = {p.id: letters[p.id] == LETTERS[p.answer] for p in problems}
    columns = {p.id: classes(p) for p in problems}
    out = {"average": _share(right.values())}
    for name, (group, value) in COLUMNS.items():
        some = [right[id] for id, found in columns.items() if found.get(group) == value]
        if some:
            out[name] = _share(some)
    return out


def ensemble(
    problems: Sequence[Problem],
    ours: Mapping[str, str],
    gpt4: Mapping[str, str],
    verdicts: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return scores, letters and counts of all schemes.

    Args:
        problems: the questions.
        ours: our model's words by question.
        gpt4: GPT-4's words.
        verdicts: the judge's words, at least for every question that they disagree on; None
            leaves the judge out.
        seed: of the options drawn for answers that cannot be read.
    """
    own, other = read(ours, problems), read(gpt4, problems)
    mine = guessed(own, problems, seed)
    schemes = {
        "ours": mine,
        "gpt4": guessed(other, problems, seed),
        "complement": complement(mine, other),
    }
    asked = disagreed(mine, other)
    counts = {"questions": len(problems), "ours unread": len(own.unread)}
    counts |= {"gpt4 gave no letter": len(other.unread), "disagreed": len(asked)}
    if verdicts is not None:
        chosen = set(asked)
        judged = read(verdicts, [problem for problem in problems if problem.id in chosen])
        schemes["judge"] = judge(mine, other, judged)
        counts["judge unread"] = len(judged.unread)
    return {
        "scores": {name: score(letters, problems) for name, letters in schemes.items()},
        "published": {name: PUBLISHED[name] for name in schemes},
        "counts": counts,
        "seed": seed,
        "letters": schemes,
    }


def words(path: Path) -> dict[str, str]:
    """Read answers: {id: text}, an official result file with `outputs`, or .jsonl rows.

    Raises DataError when the file is none of these, or names a question twice.
    """
    if path.suffix == ".jsonl":
        found: dict[str, str] = {}
        for number, row in read_jsonl(path):
            id = next((row[name] for name in _ID if name in row), None)
            text = next((row[name] for name in _TEXT if name in row), None)
            if id is None or text is None:
                raise DataError(
                    f"{path}, line {number}: needs one of {_ID} and one of {_TEXT}; it has "
                    f"{', '.join(row)}"
                )
            if str(id) in found:
                raise DataError(f"{path}, line {number}: the question '{id}' comes twice")
            found[str(id)] = str(text)
        return found
    whole = read_json(path, dict)
    table = whole.get("outputs", whole)
    if not isinstance(table, dict):
        raise DataError(f"{path}: `outputs` is not a table of answers by question")
    return {str(id): str(text) for id, text in table.items()}


def ask(problems: Sequence[Problem], ours: Read, gpt4: Read, teacher: Any, seed: int) -> Any:
    """Have `teacher` (trainers/teacher.py) judge; return its words by question.

    Raises DataError naming the questions that it did not answer.
    """
    mine = guessed(ours, problems, seed)
    wanted = set(disagreed(mine, gpt4))
    samples = [
        judge_prompt(problem, mine[problem.id], gpt4.letters.get(problem.id))
        for problem in problems
        if problem.id in wanted
    ]
    said, failed = {}, []
    for reply in teacher.ask(samples, JUDGE):
        if isinstance(reply.answer, Answer):
            said[reply.sample.id] = reply.answer.text
        else:
            failed.append(f"{reply.sample.id}: {reply.answer.error}")
    if failed:
        raise DataError(
            f"{len(failed):,} of {len(samples):,} questions were not judged ({failed[0]}); those "
            "that were are kept, ask again"
        )
    return said


def _letter(text: str) -> str | None:
    found = scienceqa_letter(text)
    if found is not None:
        return found
    labelled = _LABELLED.findall(text)
    return labelled[0] if len(labelled) == 1 else None


def _share(right: Iterable[bool]) -> float:
    values = list(right)
    return 100 * sum(values) / len(values)


def _table(result: Mapping[str, Any]) -> Iterator[str]:
    names = list(next(iter(result["scores"].values())))
    yield f"{'':<12}" + "".join(f"{name:>9}" for name in names) + "  published"
    for scheme, found in result["scores"].items():
        cells = "".join(f"{found[name]:>9.2f}" for name in names)
        yield f"{scheme:<12}{cells}{result['published'][scheme]:>11.2f}"
    yield ", ".join(f"{name}: {count:,}" for name, count in result["counts"].items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the schemes on files; return the exit code (harness/errors.py)."""
    parser = argparse.ArgumentParser(prog="python -m trainers.ensemble", description=__doc__)
    parser.add_argument("--data", required=True, help="ScienceQA's files, as for the task")
    parser.add_argument("--ours", type=Path, required=True, help="our model's answers")
    parser.add_argument("--gpt4", type=Path, required=True, help="GPT-4's answers")
    parser.add_argument("--judge", type=Path, help="the judge's answers, where there are any")
    parser.add_argument("--teacher", help="a model to judge, as openai:gpt-4; or replay")
    parser.add_argument("--cache", type=Path, help="folder of the teacher's words")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="result, .json")
    asked = parser.parse_args(arguments)
    try:
        problems = load(asked.data, "").rows
        ours, gpt4 = words(asked.ours), words(asked.gpt4)
        verdicts = words(asked.judge) if asked.judge else None
        if asked.teacher:
            from trainers.teacher import Teacher

            folder = asked.cache or asked.out.with_suffix(".teacher")
            with Teacher(folder, asked.teacher) as teacher:
                own, other = read(ours, problems), read(gpt4, problems)
                verdicts = ask(problems, own, other, teacher, asked.seed)
        result = ensemble(problems, ours, gpt4, verdicts, asked.seed)
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(_table(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
