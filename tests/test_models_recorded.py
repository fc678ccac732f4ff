"""Recorded answers: every format found in the wild, joined to the right samples or refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared
from small_data import write_pope

from harness.api import run
from harness.errors import DataError, UsageError
from harness.models.recorded import Recorded, make
from harness.types import Answer, Ask, Decoding, Failure, Sample

QUESTIONS = {"7": "Is it red?", "8": "Is it blue?", "9": "What is it?"}
LETTERS = ("A", "B", "C")


def samples(choices: tuple[str, ...] = ()) -> list[Sample]:
    """Three questions, with ids of ours and of another tool."""
    return [
        Sample(number, (f"{text}\nOne word.",), choices=choices, aliases=(f"q{number}",))
        for number, text in QUESTIONS.items()
    ]


def replies(model: Recorded, asked: list[Sample], ask: Ask = "generate") -> dict[str, object]:
    """What the model says, by sample id, as the run loop gets it."""
    model.check_ids({name for s in asked for name in (s.id, *s.aliases)})
    model.prepare(asked)
    return {asked[at].id: reply for at, reply in model.answer(asked, ask, Decoding())}


def texts(model: Recorded, asked: list[Sample] | None = None) -> dict[str, str | None]:
    found = replies(model, asked or samples())
    return {id: r.text if isinstance(r, Answer) else None for id, r in found.items()}


def write(tmp_path: Path, content: str | bytes | object, name: str = "answers.jsonl") -> str:
    path = tmp_path / name
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    path.write_bytes(content)
    return str(path)


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SAME = {"7": "yes", "8": "No.", "9": " a cat\n"}
FORMATS = {
    "llava": (
        "answers.jsonl",
        lines(
            *(
                {"question_id": k, "prompt": f"<image>\n{QUESTIONS[k]}\nShort.", "text": v}
                | {"answer_id": "x", "model_id": "m", "metadata": {}}
                for k, v in SAME.items()
            )
        ),
    ),
    "gqa": (
        "predictions.json",
        json.dumps([{"questionId": k, "prediction": v} for k, v in SAME.items()]),
    ),
    "jsonl": ("a.jsonl", lines(*({"id": int(k), "response": v} for k, v in SAME.items()))),
    "json": ("a.json", json.dumps([{"qid": k, "pred": v} for k, v in SAME.items()])),
    "csv": ("a.csv", ',qid,answer\r\n0,7,yes\r\n1,8,No.\r\n2,9," a cat\n"\r\n'),
    "tsv": ("a.tsv", 'index\tanswer\n8\tNo.\n7\tyes\n9\t" a cat\n"\n'),
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_recognised_and_text_kept_as_it_is(tmp_path: Path, format: str) -> None:
    name, content = FORMATS[format]
    for written in (
        write(tmp_path, content, name),
        write(tmp_path, "\ufeff" + content, f"bom-{name}"),
        write(tmp_path, gzip.compress(content.encode()), f"{name}.gz"),
    ):
        for asked in ("auto", format):
            model = make(written, format=asked)
            assert texts(model) == SAME
            described = model.describe()
            assert described["format"] == format and described["answers"] == 3
            assert described["file"] == Path(written).name and len(described["sha256"]) == 64


def test_aliases_join_and_a_sample_may_have_one_answer(tmp_path: Path) -> None:
    rows = [{"id": f"q{k}", "text": v} for k, v in SAME.items()]
    assert texts(make(write(tmp_path, rows))) == SAME
    both = make(write(tmp_path, [*rows, {"id": "7", "text": "no"}]))
    with pytest.raises(DataError, match="'7' and 'q7' mean the same sample '7'"):
        texts(both)
    shared_alias = [Sample("a", ("x",), aliases=("1",)), Sample("b", ("y",), aliases=("1",))]
    with pytest.raises(DataError, match="the id '1' could mean the samples 'a' and 'b'"):
        texts(make(write(tmp_path, [{"id": "1", "text": "no"}])), shared_alias)


def test_a_missing_answer_is_missing_and_never_wrong(tmp_path: Path) -> None:
    found = replies(
        make(write(tmp_path, lines({"id": 7, "text": "yes"}, {"id": 8, "text": None}))), samples()
    )
    assert found["7"] == Answer("yes")
    for id in ("8", "9"):
        reply = found[id]
        assert isinstance(reply, Failure) and reply.kind == "missing"
    assert "no answer for '9'" in found["9"].error  # type: ignore[attr-defined]


def test_unknown_ids_are_refused_unless_told_or_official_gqa(tmp_path: Path) -> None:
    rows = [{"id": k, "text": v} for k, v in {**SAME, "10": "x", "11": "y"}.items()]
    file = write(tmp_path, rows, "a.json")
    with pytest.raises(DataError, match=r"2 of 5 ids are not in this task: '10', '11'"):
        texts(make(file))
    lenient = make(file, extra="ignore")
    assert texts(lenient) == SAME and lenient.describe()["extras"] == 2
    gqa = [{"questionId": row["id"], "prediction": row["text"]} for row in rows]
    official = make(write(tmp_path, gqa, "gqa.json"))
    assert texts(official) == SAME and official.describe()["extras"] == 2
    foreign = make(write(tmp_path, gqa[3:], "foreign.json"), extra="ignore")
    with pytest.raises(DataError, match="2 of 2 ids"):
        texts(foreign)


def test_an_answer_to_another_question_is_refused(tmp_path: Path) -> None:
    row = {"question_id": "7", "prompt": "Is it green?\nOne word.", "text": "yes"}
    with pytest.raises(DataError, match=r"line 1.*sample '7'.*'Is it red\?.*found 'Is it green"):
        texts(make(write(tmp_path, lines(row))))
    for prompt in ("is it red?", "Is  it\nred?", "<image>\nIs it red? Answer briefly.", "", None):
        row["prompt"] = prompt
        file = write(tmp_path, lines(row))
        if prompt == "is it red?":
            with pytest.raises(DataError, match="another version"):
                texts(make(file))
        else:
            assert texts(make(file))["7"] == "yes"


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ('{"id": 1, "text": "a"}\n{"id": 2, "tex', "a.jsonl", "line 2: not usable JSON"),
        ('{"id": 1, "text": "a"}\n\n[1]\n', "a.jsonl", "line 3: expected an object, found a list"),
        ('{"id": 1, "te', "a.jsonl", "line 1: not JSON"),
        ('[\n{"id": 1, "text": "a"},\n{"id": 2 "text"}]', "a.json", "line 3: not JSON"),
        ('[{"id": 1, "text": "a"}, 5]', "a.json", "entry 2: expected an object, found a int"),
        ("[]", "a.json", "no answers in it"),
        ("", "a.csv", "no answers in it"),
        ("\n \n", "a.jsonl", "not JSON"),
        ('"text"', "a.json", "expected a list of answers, found a str"),
        (
            lines({"id": 1, "text": "a"}, {"id": "1", "text": "a"}),
            "a.jsonl",
            "'1' comes twice .line 1 and line 2",
        ),
        ('{"id": 1, "id": 2, "text": "a"}', "a.jsonl", "the key 'id' comes twice"),
        (lines({"id": 1, "text": "a"}, {"id": 2}), "a.jsonl", "line 2: no field 'text'; it has id"),
        (lines({"id": None, "text": "a"}), "a.jsonl", "None is not an id"),
        (lines({"id": True, "text": "a"}), "a.jsonl", "True is not an id"),
        (lines({"id": 1, "text": ["a"]}), "a.jsonl", "the answer 'text' is a list, not a text"),
        (lines({"id": 1, "choice": -2}), "a.jsonl", "-2 is not the position of a choice"),
        (lines({"id": 1, "choice": "B"}), "a.jsonl", "'B' is not the position of a choice"),
        ('{"id": 1, "scores": [0, NaN]}', "a.jsonl", "finite numbers"),
        (lines({"id": 1, "scores": "0.5"}), "a.jsonl", "finite numbers"),
        ("id,text\n1,a\n2\n", "a.csv", "line 3: 1 columns, the header has 2"),
        ('id,text\n1,a\n2,"b\n', "a.csv", "damaged table"),
        ("id,id\n1,a\n", "a.csv", "a column name comes twice"),
        ("id,text\n,a\n", "a.csv", "'' is not an id"),
        (b'{"id": 1, "text": "\xff"}', "a.jsonl", "not UTF-8 at byte 19"),
        (b"\x1f\x8b\x08broken", "a.jsonl.gz", "damaged gzip"),
        ("[" * 200_000, "a.json", "not usable JSON"),
        ('{"id": ' + "9" * 5000 + ', "text": "a"}', "a.jsonl", "not usable JSON"),
        ({"results": {"7": 1}, "outputs": {"8": "x"}}, "a.json", "1 ids that 'results' lacks"),
        ({"results": {"7": "B"}}, "a.json", "id 7: 'B' is not the position"),
    ],
)
def test_damage_is_told_with_its_place(
    tmp_path: Path, content: object, name: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        make(write(tmp_path, content, name))


def test_columns_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    rows = [{"index": 7, "id": 1, "answer": "gold", "prediction": "yes", "q": "Is it red?"}]
    file = write(tmp_path, rows, "a.json")
    with pytest.raises(UsageError, match=r"id and index could all be the id.*id_field=COLUMN"):
        make(file)
    with pytest.raises(UsageError, match="answer and prediction could all be the answer"):
        make(file, id_field="index")
    named = make(file, id_field="index", answer_field="prediction", prompt_field="q")
    assert texts(named)["7"] == "yes"
    with pytest.raises(DataError, match="no field 'guess'; it has index, id"):
        make(file, id_field="index", answer_field="guess")
    with pytest.raises(UsageError, match="none of them is called like the id"):
        make(write(tmp_path, [{"name": 7, "text": "yes"}], "b.json"))


def test_options_are_checked(tmp_path: Path) -> None:
    file = write(tmp_path, FORMATS["gqa"][1], "a.json")
    with pytest.raises(
        UsageError, match=r"no format of recorded answers 'lava'; did you mean llava"
    ):
        make(file, format="lava")
    with pytest.raises(DataError, match=r"asked to read it as 'scienceqa'.*looks like 'gqa'"):
        make(file, format="scienceqa")
    with pytest.raises(UsageError, match="extra"):
        make(file, extra="drop")
    with pytest.raises(UsageError, match="recorded:FILE"):
        make("")
    with pytest.raises(DataError, match="No such file"):
        make(str(tmp_path / "absent.jsonl"))


def test_positions_and_scores_are_taken_for_rankings(tmp_path: Path) -> None:
    asked = samples(("red", "blue", "green"))
    rows = [{"id": 7, "scores": [-1.5, 2, 0]}, {"id": 8, "choice": 2}, {"id": 9, "choice": -1}]
    found = replies(make(write(tmp_path, lines(*rows))), asked, "rank")
    assert found == {
        "7": Answer(scores=(-1.5, 2.0, 0.0), choice=1),
        "8": Answer(choice=2),
        "9": Answer(choice=-1),
    }
    table = write(tmp_path, 'id,scores\n7,"[1, 0, 0]"\n8,"[0, 1, 1]"\n9,"[0, 0, 1]"\n', "s.csv")
    assert [r.choice for r in replies(make(table), asked, "rank").values()] == [0, 1, 2]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="must hold 'scores'"):
        replies(make(write(tmp_path, lines({"id": 7, "text": "red"}))), asked, "rank")
    with pytest.raises(DataError, match="has 3 choices, the file has 2 scores"):
        replies(make(write(tmp_path, lines({"id": 7, "scores": [1, 2]}))), asked, "rank")
    with pytest.raises(DataError, match="has 3 choices, the file takes number 3"):
        replies(make(write(tmp_path, lines({"id": 7, "choice": 3}))), asked, "rank")
    with pytest.raises(UsageError, match="no features"):
        replies(make(write(tmp_path, lines({"id": 7, "choice": 0}))), asked, "encode")


def test_positions_answer_lettered_questions_but_not_open_ones(tmp_path: Path) -> None:
    model = make(write(tmp_path, lines({"id": 7, "choice": 1}, {"id": 8, "choice": -1})))
    found = replies(model, samples(LETTERS))
    assert found["7"] == Answer("B", choice=1) and found["8"] == Answer("", choice=-1)
    with pytest.raises(UsageError, match="no choices: it asks for a text"):
        replies(model, samples())


def test_scienceqa_result_files(tmp_path: Path) -> None:
    document = {"acc": 50.0, "correct": 1, "count": 2, "results": {"7": 1, "8": -1}}
    document["outputs"] = {"7": "The answer is B.", "8": "FAILED"}
    model = make(write(tmp_path, document, "result.json"))
    found = replies(model, samples(LETTERS))
    assert model.describe()["format"] == "scienceqa"
    assert found["7"] == Answer("The answer is B.", choice=1)
    assert found["8"] == Answer("FAILED", choice=-1)
    assert isinstance(found["9"], Failure)


def test_what_llavas_scienceqa_script_writes(tmp_path: Path) -> None:
    row = {"parsed_ans": "B", "ground_truth": "B", "pred": "B", "is_multimodal": False}
    document = {
        "correct": [{"question_id": "7", "question": "Is it red?\nA. x", **row}],
        "incorrect": [
            {"question_id": "8", "question": "<image>\nIs it blue?", **row, "pred": "I think. A"},
            {"question_id": "9", "question": "Unknown", **row, "pred": "FAILED"},
        ],
    }
    model = make(write(tmp_path, document, "eval.json"))
    assert texts(model) == {"7": "B", "8": "I think. A", "9": None}
    assert model.describe()["format"] == "llava-scienceqa"


def test_answers_without_ids_are_placed_by_position_and_compared(tmp_path: Path) -> None:
    data = write_pope(tmp_path / "pope", pictures=False)
    split = [json.loads(x) for x in (data / "coco_pope_popular.json").read_text().splitlines()]
    rows = [{"question": r["text"], "answer": r["label"]} for r in split]
    file = f"recorded:{write(tmp_path, lines(*rows), 'popular.json')}"
    record = run(file, "pope/official", data=data, out=tmp_path / "a")
    assert record.metrics["popular.accuracy"]["value"] == 100
    assert record.counts["missing"] == 48 and record.counts["scored"] == 24
    again = run(file, "pope/official", data=data, out=tmp_path / "a", resume=True)
    assert again.counts == record.counts
    swapped = [rows[1], rows[0], *rows[2:]]
    with pytest.raises(DataError, match=r"line 1: .*expected 'Is there a popular dog"):
        run(f"recorded:{write(tmp_path, lines(*swapped))}", "pope", data=data, out=tmp_path / "b")
    with pytest.raises(DataError, match="23 answers without ids, but this run has 72, 24, 24, 24"):
        run(f"recorded:{write(tmp_path, lines(*rows[:-1]))}", "pope", data=data, out=tmp_path / "c")
    with pytest.raises(DataError, match="cannot be used with --limit"):
        run(file, "pope", data=data, out=tmp_path / "d", limit=5)


def test_one_file_for_two_splits_of_the_same_questions_is_refused(tmp_path: Path) -> None:
    asked = [Sample(f"{s}{i}", (f"Q{i}",), groups={"split": s}) for s in "ab" for i in range(2)]
    rows = lines(*({"question": f"Q{i}", "answer": "yes"} for i in range(2)))
    with pytest.raises(DataError, match="of 2 splits alike"):
        texts(make(write(tmp_path, rows)), asked)


def test_a_real_csv_of_another_tool() -> None:
    path = shared("gqa/GQA_Result_compare.csv")
    model = make(str(path), id_field="question_id", answer_field="pred_ans")
    assert model.describe()["answers"] == 12_578 and model.describe()["format"] == "csv"
    asked = [
        Sample("201303229", ("How tall is the chair in the bottom of the photo?",)),
        Sample("20136592", ("What color are the pants?",)),
    ]
    found = [r for _, r in model.answer(asked, "generate", Decoding())]
    assert found == [Answer("5 feet"), Answer("red")]
    with pytest.raises(DataError, match="'What colour is it"):
        list(model.answer([Sample("20136592", ("What colour is it?",))], "generate", Decoding()))


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("recorded") / "a.jsonl"
    path.write_text(json.dumps({"id": "7", "text": text}) + "\n", encoding="ascii")
    assert texts(make(str(path)))["7"] == text


def test_long_and_strange_texts_survive_in_every_container(tmp_path: Path) -> None:
    text = 'x"\u2028\x0b\x85\r\n\t,' * 100_000
    table = 'id,text\n7,"' + text.replace('"', '""') + '"\n'
    assert texts(make(write(tmp_path, table, "a.csv")))["7"] == text
    unescaped = json.dumps({"id": "7", "text": text}, ensure_ascii=False) + "\n"
    assert texts(make(write(tmp_path, unescaped, "a.jsonl")))["7"] == text


@given(
    st.one_of(st.binary(), st.text().map(lambda t: f'{{"id": {t}, "text": ""}}'.encode())),
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.gz"]),
)
def test_any_bytes_are_answers_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("recorded") / name
    path.write_bytes(content)
    try:
        assert make(str(path)).describe()["answers"] > 0
    except (DataError, UsageError) as error:
        assert str(path) in str(error)
