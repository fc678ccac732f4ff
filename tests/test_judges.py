"""Answer rules: what each tool makes of the same text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.choice import LETTERS, index, lettered, llava_letter, lmms_letter, scienceqa_letter
from judges.exact import RULES, vqa

LETTER_RULES = {"llava": llava_letter, "lmms": lmms_letter, "official": scienceqa_letter}

# prediction, gold, and the rules under which the two are equal
EXACT = [
    ("yes", "yes", {"official", "llava", "lmms", "vlmeval", "lavis"}),
    ("Yes", "yes", {"llava", "lmms", "vlmeval", "lavis"}),
    ("yes.", "yes", {"llava", "lmms", "lavis"}),
    ("Yes...", "yes", {"llava", "lmms", "lavis"}),
    (" yes", "yes", {"vlmeval", "lavis"}),
    ("yes. ", "yes", {"lavis"}),
    ("yes\n", "yes", {"vlmeval", "lavis"}),
    ("parking lot.", "parking lot", {"llava", "lmms", "lavis"}),
    ("tshirt", "t-shirt", {"lmms"}),
    ("t shirt", "t-shirt", {"lavis"}),
    ("T-shirt", "t-shirt", {"llava", "lmms", "vlmeval", "lavis"}),
    ("the car", "car", {"lavis"}),
    ("a  red   car", "red car", {"lavis"}),
    ("two", "2", {"lavis"}),
    ("none", "0", {"lavis"}),
    ("yes, it is", "yes", set()),
    ("cars", "car", set()),
    ("", "yes", set()),
]

LETTER = [
    # text, LLaVA, lmms-eval, the official GPT-3 script
    ("B", "B", "B", None),
    ("b", None, "B", None),
    (" B\n", None, "B", None),
    ("B.", None, "B", None),
    ("B. dog", "B", "B", None),
    ("B.dog", None, "B", None),
    ("B) dog", None, None, None),
    ("(B)", None, None, None),
    ("The answer is B.", "B", None, "B"),
    ("The answer is B", None, None, None),
    ("The answer is B, because", "B", None, "B"),
    ("The answer is B. No! The answer is C.", None, None, None),
    ("the answer is B.", None, None, None),
    ("A cat", None, None, None),
    ("A. The answer is B.", "A", "A", "B"),
    ("F. fox", None, "F", None),
    ("The answer is Z.", "Z", None, "Z"),
    ("Because. The answer is\nB.", None, None, None),
    ("", None, None, None),
    ("\u017f", None, None, None),  # the long s upper-cases to S
    ("\u212a", None, "K", None),  # the Kelvin sign lower-cases to k, as in lmms-eval
]


@pytest.mark.parametrize(("said", "gold", "equal"), EXACT)
def test_exact_rules_differ_where_the_tools_differ(said: str, gold: str, equal: set[str]) -> None:
    assert {name for name, rule in RULES.items() if rule.same(said, gold)} == equal


@pytest.mark.parametrize(("said", "llava", "lmms", "official"), LETTER)
def test_letters_as_each_tool_reads_them(
    said: str, llava: str | None, lmms: str | None, official: str | None
) -> None:
    assert (llava_letter(said), lmms_letter(said), scienceqa_letter(said)) == (
        llava,
        lmms,
        official,
    )


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("y'alldve", "y'alldve"),  # two apostrophes lack: the published table does not know it
        ("x,y", "x y"),
        ("x, y", "x y"),
        ("1,000", "1000"),
        ("1,000/x", "1000x"),  # a comma in a number: every mark is deleted, not replaced
        ("3.5", "3.5"),
        ("end.", "end"),
        ("The. Dog.", "dog"),
    ],
)
def test_vqa_normalisation(said: str, normal: str) -> None:
    assert vqa(said) == normal


def test_vqa_removes_at_most_32_periods() -> None:
    assert vqa("x" + "." * 40) == "x" + "." * 8


def test_only_letters_of_the_item_count() -> None:
    assert [index(letter, 2) for letter in ("A", "B", "C", None, "", "AB")] == [
        0,
        1,
        -1,
        -1,
        -1,
        -1,
    ]


def test_options_keep_braces_and_get_their_letters() -> None:
    assert lettered(["{option}", "{letter}"], "(", ") ") == ["(A) {option}", "(B) {letter}"]


hostile = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=())),  # surrogates and controls included
    st.text(alphabet="ABCDE. Theanswri\n"),
)


@given(hostile, hostile)
def test_exact_rules_never_raise(said: str, gold: str) -> None:
    for rule in RULES.values():
        assert rule.same(said, gold) in (True, False)
        assert isinstance(rule.clean(said), str)


@pytest.mark.parametrize(
    "text",
    ["A" * 1_000_000, "The answer is A. " * 60_000, ".," * 500_000, "1,0 " * 250_000, "\x00\ud800"],
    ids=["letters", "sentences", "marks", "numbers", "broken"],
)
def test_a_megabyte_is_read_like_anything_else(text: str) -> None:
    assert all(rule.same(text, text) for rule in RULES.values() if rule.gold_too)
    assert not any(rule.same(text, "yes") for rule in RULES.values())
    assert [rule(text) for rule in LETTER_RULES.values()] == [None, None, None]


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_an_answer_always_equals_itself_where_both_sides_are_cleaned(text: str) -> None:
    assert all(rule.same(text, text) for rule in RULES.values() if rule.gold_too)
    assert RULES["official"].same(text, text)


@given(hostile, st.integers(2, 5))
def test_letter_rules_give_an_option_of_the_item_or_nothing(text: str, count: int) -> None:
    for rule in LETTER_RULES.values():
        assert -1 <= index(rule(text), count) < count


@given(st.sampled_from(LETTERS[:5]))
def test_every_rule_reads_what_its_own_protocol_asks_for(letter: str) -> None:
    assert llava_letter(letter) == lmms_letter(letter) == letter
    assert scienceqa_letter(f"The answer is {letter}.") == letter
