"""How fast VQA accuracy is: answers judged per second of one core, against ten people each.

    python benchmarks/vqa_normalisation.py

Goal: 50,000 answers per second and core, normalisation of both sides and accuracy included. The
normalisation remembers texts of up to 64 characters, so the kinds of answers differ:
`repeating` as in VQAv2, where few answers make up most; `new`: the ten people of a question say
up to three things, and no question shares a text with another; `all new`: eleven texts per
question, none of which comes twice (no benchmark is like that).
"""

import random
import time

from judges import vqa
from judges.vqa import RULES, judge

GOAL = 50_000
COUNT = 20_000
WORDS = (
    *("red", "blue", "dog", "two", "none", "the", "a", "dont", "t-shirt", "1,000", "u.s.a."),
    *("left", "man's", "coffee/tea", "yes", "no"),
)


def questions(kind: str) -> list[tuple[str, list[str]]]:
    """Return predictions with ten people's answers of a kind."""
    draw = random.Random(0)
    made = []
    for at in range(COUNT):
        said = [" ".join(draw.choices(WORDS, k=draw.choice((1, 1, 2, 3)))) for _ in range(3)]
        if kind != "repeating":
            said = [f"{text} {at}" for text in said]
        people = draw.choices(said, k=10)
        if kind == "all new":
            people = [f"{text} {n}" for n, text in enumerate(people)]
        made.append((f"{said[0]}." if kind == "all new" else said[0], people))
    return made


def main() -> None:
    """Print one line per rule and kind of answers."""
    for kind in ("repeating", "new", "all new"):
        made = questions(kind)
        for rule in RULES:
            vqa._normal.cache_clear()
            vqa._m4c.cache_clear()
            start = time.process_time()
            for said, people in made:
                judge(rule, said, people)
            rate = COUNT / (time.process_time() - start)
            verdict = "ok" if rate >= GOAL else "below the goal"
            print(f"{kind:<9} {rule:<8} {rate:>9,.0f} answers/s  {verdict}")


if __name__ == "__main__":
    main()
