"""Open answers against ten people's answers: VQA accuracy as VQAv2, TextVQA and VizWiz take it.

A prediction is as right as people agree with it: for each person the share min(1, n / 3) of the n
others who said the same, averaged over all persons. What differs between tools is which side is
normalised, when, and how. Sources: the official `vqaEval.py` of GT-Vision-Lab/VQA (`official`),
LAVIS' copy of an older version (`lavis`), lmms-eval (`lmms`), and the M4C evaluator that LLaVA
uses for TextVQA and VizWiz (`m4c`).

The normalisations are pure functions of one text; those of short texts are remembered, because
answers repeat. No rule ever raises, whatever a model wrote. Imports the standard library only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

# The rule deletes a mark everywhere in a text that has it beside a space, or that has a comma
# between digits; elsewhere the mark becomes a space.
_MARK = re.compile(r'[;/\[\]"{}()=+\\_\-><@`,?!.]')
"""Those marks, and the full stop."""
_NUMBER_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32
"""The published code passes a flag where the substitution expects a count; the flag's value."""
_NUMBERS = "zero one two three four five six seven eight nine ten"
_ARTICLES = {"a", "an", "the"}
# Contractions are restored where the apostrophe was left out: "dont" becomes "don't".
_CONTRACTED = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd how'd
    how'll how's isn't it'd it'll ma'am might've mightn't must've mustn't needn't not've o'clock
    oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
    something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
    wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd
    who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're
    you've he's
"""
# Of forms with several apostrophes the rule knows those that lack exactly one.
_LONGER = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll
    y'all'd've you'd've 'ow's'at
"""
_REMEMBERED = 64
"""Texts up to this length are remembered; longer ones are no answers of people and rarely repeat"""


def _restored() -> Mapping[str, str]:
    table = {form.replace("'", ""): form for form in _CONTRACTED.split()}
    table["somebody'd"] = "somebodyd"  # the published table has this one the wrong way round
    for form in _LONGER.split():
        marks = [i for i, letter in enumerate(form) if letter == "'"]
        table |= {form[:i] + form[i + 1 :]: form for i in marks}
    return table


_DIGITS = {word: str(value) for value, word in enumerate(_NUMBERS.split())} | {"none": "0"}
_WORDS = {**_restored(), **_DIGITS, **dict.fromkeys(_ARTICLES, "")}
"""What becomes of a word; articles become nothing. No result is a word of the table again."""


def normalise(text: str) -> str:
    """Normalise as the VQA evaluation does: punctuation, then numbers, articles, contractions."""
    return _normal(text) if len(text) <= _REMEMBERED else words(punctuation(text))


@lru_cache(maxsize=1 << 16)
def _normal(text: str) -> str:
    return words(punctuation(text))


def punctuation(text: str) -> str:
    """Delete or replace punctuation marks, and delete full stops that no digit follows."""
    marks = set(_MARK.findall(text))
    if not marks:
        return text
    number = "," in marks and _NUMBER_COMMA.search(text) is not None
    out = text
    for mark in marks - {"."}:  # in any order: none of them makes or hides another
        # beside a space is asked of the original text, not of what is left of it
        beside = number or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside else " ")
    return _PERIOD.sub("", out, count=_PERIODS) if "." in marks else out


def words(text: str) -> str:
    """Lower the case, number words to digits, articles off, apostrophes back, single spaces."""
    get = _WORDS.get
    return " ".join([new for word in text.lower().split() if (new := get(word, word))])


def flat(text: str) -> str:
    """Return a text on one line, without outer space: what every version does first."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def m4c(text: str) -> str:
    """Normalise as the M4C evaluator does: lower case, no commas and "?", "'s" a word of its own.

    Its commas are gone before its punctuation rule looks for numbers, so "1,000-5" is "1000 5".
    """
    return _m4c(text) if len(text) <= _REMEMBERED else _m4c.__wrapped__(text)


@lru_cache(maxsize=1 << 16)
def _m4c(text: str) -> str:
    cut = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return words(punctuation(flat(cut)))


def agreement(said: str, people: Sequence[str]) -> float:
    """Return how right `said` is: mean over persons of min(1, others who said it / 3).

    0 where there are no people. With ten of them one match gives 0.3, two 0.6, three 0.9.
    """
    if not people:
        return 0.0
    same = people.count(said)
    others = len(people) - same
    return (same * min(1.0, (same - 1) / 3) + others * min(1.0, same / 3)) / len(people)


Clean = Callable[[str, Sequence[str]], tuple[str, list[str]]]
"""(prediction, people's answers) -> both as they are compared."""


def official(said: str, people: Sequence[str]) -> tuple[str, list[str]]:
    """Normalise both sides, but only where people differ: among equal answers even case counts."""
    said, answers = flat(said), [flat(answer) for answer in people]
    if len(set(answers)) > 1:
        return normalise(said), [normalise(answer) for answer in answers]
    return said, answers


def lavis(said: str, people: Sequence[str]) -> tuple[str, list[str]]:
    """Normalise the prediction always; of people's answers only the punctuation, if they differ.

    So where people said "two" or "a dog", nothing that a model can say is right.
    """
    if len(set(people)) > 1:
        return normalise(flat(said)), [punctuation(answer) for answer in people]
    return normalise(flat(said)), list(people)


def lmms(said: str, people: Sequence[str]) -> tuple[str, list[str]]:
    """Normalise both sides always."""
    return normalise(flat(said)), [normalise(flat(answer)) for answer in people]


def textvqa(said: str, people: Sequence[str]) -> tuple[str, list[str]]:
    """Normalise both sides with the M4C rule, always."""
    return m4c(said), [m4c(answer) for answer in people]


def uploaded(said: str, people: Sequence[str]) -> tuple[str, list[str]]:
    """Return what LLaVA sends to VizWiz' server: the M4C rule here, the official one there."""
    return official(m4c(said), people)


RULES: Mapping[str, Clean] = {
    "official": official,
    "lavis": lavis,
    "lmms": lmms,
    "textvqa": textvqa,
    "uploaded": uploaded,
}


def judge(rule: str, said: str, people: Sequence[str]) -> tuple[float, str]:
    """Return the accuracy of a prediction under a rule of RULES, and how it was read."""
    read, answers = RULES[rule](said, people)
    return agreement(read, answers), read


def best(rule: str, people: Sequence[str], usual: str = "") -> tuple[str, float]:
    """Return the answer of `people` that scores highest, and its accuracy.

    Among equally good ones `usual` (the published commonest answer) wins, then the first.
    """
    scored = {answer: judge(rule, answer, people)[0] for answer in dict.fromkeys(people)}
    top = max(scored.values(), default=0.0)
    if scored.get(usual) == top:
        return usual, top
    return next((answer for answer, value in scored.items() if value == top), usual), top


def three_of(said: str, people: Sequence[str]) -> float:
    """Return min(1, people who said exactly this / 3), nobody left out (A-OKVQA)."""
    return min(1.0, people.count(said) / 3)
