"""LSKD's corpus: lines there and back, and replies that are read strictly, each fault by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lskd_fakes import (
    block,
)

from harness.errors import DataError
from harness.types import Answer, Failure
from trainers.localized import (
    reply,
    triples,
)
from trainers.localized.triples import Reference, Triple, tokens, words

# the format of the corpus


def triple(**changes: Any) -> Triple:
    one = Triple(
        "a/ids/0.0", "a.png", tokens("What is [0] doing?"), tokens("[0] and [1] wait."),
        tokens("[1] is late."), (0, 1), (0, 1, 2),
        tuple(Reference(str(n), ((n, 1.5, n + 4, 9),), "dog") for n in range(3)), 20, 10,
    )  # fmt: skip
    return replace(one, **changes)


def test_tokens_are_words_marks_and_lists_of_ids() -> None:
    said = "What is [0]'s plan, [1, 2] and [3], [4]?"
    assert tokens(said) == (*("What", "is", (0,), "'s", "plan", ",", (1, 2), "and", (3, 4), "?"),)
    assert words(tokens(said)) == "What is [0] 's plan , [1] , [2] and [3] , [4] ?"
    assert words(tokens("[0] waves"), {0: "[7]"}) == "[7] waves"
    assert tokens("été don't x-ray [1234567]")[:3] == ("été", "don't", "x-ray")
    assert triples.text(triple()).endswith("Answer: [0] and [1] wait . Rationale: [1] is late .")
    assert "Rationale" not in triples.text(triple(), rationale=False)


@given(st.text(st.sampled_from("ab ,.'[]019?\n\u0660é"), max_size=40))
@settings(max_examples=150, deadline=None)
def test_text_and_tokens_go_there_and_back(said: str) -> None:
    once = tokens(said)
    again = tokens(words(once))
    assert tokens(words(again)) == again  # a mention may join its neighbour once, then it stays
    if not any("[" in token or "]" in token for token in once if isinstance(token, str)):
        assert triples.mentioned(again) == triples.mentioned(once)


def test_lines_round_trip_with_fields_of_others(tmp_path: Path) -> None:
    rows = [triple(), triple(id="b", prediction=0.25, extra={"reject_label": 1, "r_score": 0.5})]
    assert triples.write(tmp_path / "t.jsonl", rows) == 2
    assert list(triples.read(tmp_path / "t.jsonl")) == rows
    line = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])
    assert list(line) == [
        *("id", "image", "width", "height", "source", "split", "index", "region", "region_all"),
        *("references", "question", "answer", "rationale", "style", "provenance", "prediction"),
    ]
    assert line["question"] == ["What", "is", [0], "doing", "?"]
    assert rows[0].boxes(2) == ((2, 1.5, 6, 9),)
    with pytest.raises(DataError, match="region 5"):
        rows[0].boxes(5)


def test_a_released_line_is_read(tmp_path: Path) -> None:
    row = {"image": "x.jpg", "source": "any_v4", "split": "train", "index": 3, "region": [1],
           "region_all": [0, 1], "references": [{"name": "1", "boxes": [[1, 2, 3, 4, 0.9]]}],
           "question": ["Why", "?"], "answer": [[1], "is", "late"], "rationale": ["so"],
           "prediction": 0.91}  # fmt: skip
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n\n", encoding="utf-8")
    (one,) = triples.read(tmp_path / "r.jsonl")
    assert (one.id, one.style, one.boxes(1)) == ("any_v4/train/3/1", "ids", ((1, 2, 3, 4),))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"answer": ()}, "the answer is empty"),
        ({"answer": ("[0]", "waits")}, "read as an id"),
        ({"answer": ("[", "0", "]")}, "read as an id"),
        ({"answer": ((),)}, "empty list of ids"),
        ({"region": (0,)}, "not in `region`"),
        ({"region_all": (0,)}, "not part of `region_all`"),
        ({"region": (0, 0, 1)}, "an id twice"),
        ({"style": "descriptions"}, "ids in the style"),
        ({"style": "ids", "question": ("a",), "answer": ("b",), "rationale": ("c",)}, "no id"),
        ({"style": "both"}, "unknown style"),
        ({"prediction": 1.5}, "outside 0 to 1"),
        ({"references": (Reference("0", ((1, 2, 1, 4),)),)}, "a bad box"),
        ({"references": (Reference("0", ((1, 2, 30, 4),)),)}, "a bad box"),
        ({"references": (Reference("0", ((1, 2, float("nan"), 4),)),)}, "a bad box"),
        ({"image": ""}, "no image"),
    ],
)
def test_what_is_no_triple_is_named(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert why in triples.validate(triple(**changes))
    with pytest.raises(DataError, match=r"a/ids/0\.0"):
        triples.write(tmp_path / "t.jsonl", [triple(**changes)])
    assert not (tmp_path / "t.jsonl").exists()


def test_bad_lines_name_their_place(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    line = triples.to_line(triple())
    for damaged, why in (
        (line + "{", "line 2"),
        (line + line, "stands twice"),
        (line + "[]", "not an object"),
        (line.replace("[0]", '["x"]'), "line 1"),
        (line.replace('"question"', '"asked"'), "question"),
    ):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(DataError, match=why):
            list(triples.read(path))
    with pytest.raises(DataError, match="no corpus"):
        list(triples.read(tmp_path / "none"))


# reading replies


def test_a_reply_in_the_form_is_read() -> None:
    parsed = reply.read(Answer("\n\n".join(map(block, range(3)))), "ids", 2, 3)
    assert not parsed.faults and [place for place, _ in parsed.good] == [0, 1, 2]
    assert words(parsed.good[1][1].answer) == "[0] wants food ."
    said = "QUESTION: Why is [the wet dog] here?\nanswer: It waits.\nRationale: [the wet dog] sits."
    (only,) = reply.read(Answer(said), "descriptions", 2, 1).good
    assert only[1].phrases == ("the wet dog",)
    assert words(only[1].question) == "Why is the wet dog here ?"


@pytest.mark.parametrize(
    ("text", "style", "why"),
    [
        ("", "ids", "not in the form"),
        ("Sure!\n" + block(0), "ids", "not in the form"),
        (block(0) + "\nRationale: more.", "ids", "not in the form"),
        ("**Question:** What?\nAnswer: [0].\nRationale: b.", "ids", "not in the form"),
        (block(0) + "\n\n" + block(1), "ids", "another number"),
        ("Question: What is [0]?\nAnswer:\nRationale: [0] is.", "ids", "an empty part"),
        (block(0, "[2]"), "ids", "unknown region id"),
        (block(0, "[0, 9]"), "ids", "unknown region id"),
        (block(0, "[0.1, 0.2, 0.3, 0.4]"), "ids", "a phrase in brackets"),
        (block(0, "[the dog]"), "ids", "a phrase in brackets"),
        (block(0, "the dog"), "ids", "no region in question and answer"),
        (block(0, "[0"), "ids", "brackets that do not close"),
        (block(0, "[[0]]"), "ids", "brackets that do not close"),
        (block(0).replace("bowl", "bowl, as the caption says"), "ids", "cites what was given"),
        (block(0).replace("a bowl", "region 1"), "ids", "cites what was given"),
        (block(0).replace("bowl", "<image> bowl"), "ids", "marks of a prompt"),
        (block(0).replace("bowl", "bowl " * 90), "ids", "too long"),
        (block(0, "[0]"), "descriptions", "a region id"),
        (block(0, "the dog"), "descriptions", "no region in question and answer"),
        (block(0, "[--]"), "descriptions", "an empty phrase"),
    ],
)
def test_every_fault_has_its_reason(text: str, style: triples.Style, why: str) -> None:
    parsed = reply.read(Answer(text), style, 2, 1)
    assert why in parsed.why and not parsed.good


def test_repeats_and_what_is_no_reply() -> None:
    twice = f"{block(0)}\n\n{block(0)}\n\n{block(1)}"
    parsed = reply.read(Answer(twice), "ids", 1, 3)
    assert [place for place, _ in parsed.good] == [0, 2] and parsed.why == "repeats a question"
    known = [tokens("what does [0] want in case 1 ?")]
    assert reply.read(Answer(block(1)), "ids", 1, 1, known).why == "repeats a question"
    assert reply.read(Answer(block(1), stop="length"), "ids", 1, 1).why == "cut off"
    assert reply.read(Answer("no", stop="refused"), "ids", 1, 1).why == "refused"
    assert reply.read(Failure("down"), "ids", 1, 1).why == "no reply"


@given(st.text(max_size=60), st.sampled_from(triples.STYLES))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_reader(said: str, style: triples.Style) -> None:
    for text in (said, f"Question: {said}\nAnswer: {said}\nRationale: {said}", block(0, said)):
        parsed = reply.read(Answer(text), style, 2, 1)
        assert bool(parsed.good) != bool(parsed.faults)
        for _, one in parsed.good:  # what is taken makes a valid line
            ids = triples.mentioned(one.question, one.answer, one.rationale)
            made = Triple("x", "x", one.question, one.answer, one.rationale, ids, ids, style=style)
            assert not triples.validate(made)
