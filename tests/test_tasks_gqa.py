"""GQA: published arithmetic, every metric by hand, layouts, tools' rules, damaged data."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.models.recorded import make
from harness.record import Record
from judges.exact import RULES
from tasks.gqa import VARIANTS


def question(
    image: str, text: str, answer: str, types: str, program: list[str], **more: Any
) -> dict[str, Any]:
    """One question in the official format; `program` is a list of "operation: argument"."""
    structural, semantic, detailed = types.split()
    operations = [op.split(": ") for op in program]
    return {
        "imageId": image,
        "question": text,
        "answer": answer,
        "fullAnswer": f"It is {answer}.",
        "isBalanced": more.get("balanced", True),
        "types": {"structural": structural, "semantic": semantic, "detailed": detailed},
        "groups": {"global": more.get("group"), "local": "x"},
        "entailed": more.get("entailed", []),
        "equivalent": [],
        "annotations": {"question": {}, "answer": {}, "fullAnswer": {}},
        "semantic": [{"operation": o, "argument": a, "dependencies": []} for o, a in operations],
        "semanticStr": "->".join(program),
    }


COLOUR = ["select: cup (5)", "query: color"]
QUESTIONS = {
    "01": question(
        *("10", "What color is the cup?", "red", "query attr attr", COLOUR),
        group="color",
        entailed=["01", "02", "06"],
    ),
    "02": question(
        *(
            "10",
            "Is the cup red?",
            "yes",
            "verify attr verifyAttr",
            ["select: cup (5)", "verify color: red"],
        ),
        entailed=["02", "01"],
    ),
    "03": question(
        *("10", "What do both have in common?", "color", "compare attr twoCommon"),
        ["select: cup (5)", "select: bag (6)", "common: _"],
    ),
    "04": question(
        *(
            "20",
            "Which animal is it?",
            "dog",
            "query obj queryName",
            ["select: animal (1)", "query: name"],
        ),
        group="animal",
    ),
    "05": question(
        *("20", "Is there a dog and a cat?", "no", "logical obj existAnd"),
        ["select: dog (1)", "exist: ?", "select: cat (-)", "exist: ?", "and: _"],
        entailed=["05"],
    ),
    "06": question(
        *("10", "Is it a red cup?", "yes", "verify attr verifyAttr", COLOUR), balanced=False
    ),
    "07": question(
        *("20", "What is it?", "dog", "query obj queryName", COLOUR),
        balanced=False,
        entailed=["04"],
        group="animal",
    ),
    "08": question(
        *("20", "Is it a dog or a cat?", "dog", "query obj chooseName"),
        ["select: animal (1)", "choose name: dog|cat"],
        group="animal",
    ),
    "09": question(
        *("20", "Which other animal is there?", "cat", "query obj queryName"),
        ["select: animal (2)", "exist: ?"],
        group="animal",
    ),
}
SAID = {
    **{"01": "Red.", "02": "yes", "03": "material", "04": "banana", "05": "no"},
    **{"06": "no", "07": "dog", "08": "cat", "09": "cat"},
}
PETS = {"valid": ["dog", "cat"], "plausible": ["dog", "cat"]}
YES_NO = {"valid": ["yes", "no"], "plausible": ["yes", "no"]}
CHOICES = {
    "01": {"valid": ["red", "blue"], "plausible": ["blue"]},
    "03": {"valid": ["color"], "plausible": []},  # replaced: its detailed type says "Common"
    **dict.fromkeys(("02", "05", "06"), YES_NO),
    **dict.fromkeys(("04", "07", "08", "09"), PETS),
}
BY_HAND = {  # right: 01, 02, 05, 09 of the seven balanced questions
    "accuracy": 400 / 7,
    "binary": 200 / 3,  # 02 and 05 of 02, 03, 05
    "open": 50,  # 01 and 09 of 01, 04, 08, 09
    "consistency": 75,  # 01: 02 right, 06 wrong; 02: 01 right; 05 only entails itself; 09 nothing
    "validity": 600 / 7,  # "banana" is not a pet
    "plausibility": 500 / 7,  # nor plausible, and no cup is red
    "distribution": 0.0225,  # animals: (0-2)^2/2 + (2-1)^2/1 = 3 of weight 3; colours 0 of weight 1
    **{"structural.query": 50, "structural.verify": 100, "structural.compare": 0},
    **{"structural.logical": 100, "semantic.attr": 200 / 3, "semantic.obj": 50},
    **{"steps.1": 100 / 3, "steps.2": 100, "steps.3": 50},
    **{"words.4": 50, "words.5": 100, "words.6": 0, "words.7": 50},
}


def write(folder: Path, questions: Any, name: str = "val_all_questions.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(questions))
    return folder


def score(tmp_path: Path, data: Path, said: dict[str, str], task: str = "gqa") -> Record:
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps([{"questionId": k, "prediction": v} for k, v in said.items()]))
    return run(f"recorded:{file}", task, data=data, out=tmp_path / f"run-{task.replace('/', '-')}")


def values(record: Record) -> dict[str, float]:
    return {name: metric["value"] for name, metric in record.metrics.items()}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    write(tmp_path / "gqa", CHOICES, "val_choices.json")
    return write(tmp_path / "gqa" / "questions1.2", QUESTIONS).parent


def test_every_official_metric_by_hand(tmp_path: Path, official: Path) -> None:
    record = score(tmp_path, official, SAID)
    found = values(record)
    assert {name: found[name] for name in BY_HAND} == pytest.approx(BY_HAND)
    assert set(found) == set(BY_HAND)
    assert record.metrics["accuracy"]["clusters"] == 2 and record.metrics["accuracy"]["n"] == 7
    assert record.metrics["distribution"]["low"] is None
    assert list(found)[:7] == [
        *("binary", "open", "accuracy", "consistency"),
        *("validity", "plausibility", "distribution"),
    ]


def test_the_official_comparison_cleans_nothing(tmp_path: Path, official: Path) -> None:
    found = values(score(tmp_path, official, SAID, "gqa/official"))
    assert found["accuracy"] == pytest.approx(300 / 7)  # "Red." is not "red"
    assert found["validity"] == pytest.approx(500 / 7)
    assert found["consistency"] == 0  # 02 is right, the 01 that it entails no longer


def test_metrics_without_their_files_are_left_out_and_named(tmp_path: Path) -> None:
    balanced = {k: q for k, q in QUESTIONS.items() if q["isBalanced"]}
    data = write(tmp_path / "gqa", balanced, "val_balanced_questions.json")
    record = score(tmp_path, data, SAID)  # predictions for other questions are ignored
    found = values(record)
    assert found["accuracy"] == pytest.approx(400 / 7)
    assert not {"consistency", "validity", "plausibility"} & set(found)
    notes = " ".join(record.run["task"]["notes"])
    assert "no consistency: 1 of 3 entailed questions are not in the file" in notes
    assert "no validity, plausibility: no choices file" in notes
    assert "not comparable with published numbers" in notes
    assert record.run["model"]["description"]["extras"] == 2
    bare = [{k: q[k] for k in ("imageId", "question", "answer")} for q in balanced.values()]
    data = write(tmp_path / "bare", dict(zip(balanced, bare, strict=True)), "my_questions.json")
    record = score(tmp_path, data, {k: SAID[k] for k in balanced}, "gqa/llava")
    assert set(values(record)) == {"accuracy", "words.4", "words.5", "words.6", "words.7"}
    assert "no steps" in " ".join(record.run["task"]["notes"])


def test_a_missing_prediction_is_missing(tmp_path: Path, official: Path) -> None:
    record = score(tmp_path, official, {k: v for k, v in SAID.items() if k != "05"})
    assert record.counts["missing"] == 1 and record.run["status"] == "incomplete"
    assert record.metrics["accuracy"]["n"] == 6 and record.metrics["accuracy"]["asked"] == 7


# The official printout for LLaVA-1.5-13B (LLaVA issue 584) and the counts behind it.
PRINTED = {
    **{"binary": 80.56, "open": 48.68, "accuracy": 63.32, "structural.query": 48.68},
    **{"structural.choose": 85.21, "structural.compare": 65.37, "structural.logical": 79.26},
}
RIGHT = {
    "query": (3313, 6805),
    "verify": (1875, 2252),
    "logical": (1429, 1803),
    "choose": (962, 1129),
    "compare": (385, 589),
}
SEMANTIC = {"rel": 5308, "attr": 5186, "cat": 1149, "obj": 778, "global": 157}
STEPS = {1: 237, 2: 6395, 3: 4266, 4: 793, 5: 822, 6: 41, 7: 20, 8: 3, 9: 1}
WORDS = {3: 151, 4: 630, 5: 1290, 6: 2074, 7: 1642, 8: 1185, 9: 1281, 10: 1249, 11: 3076}


def published() -> dict[str, Any]:
    """A test-dev balanced file of other questions that has all the published counts."""
    structural = [name for name, (_, count) in RIGHT.items() for _ in range(count)]
    semantic, steps, words = (list(Counter(c).elements()) for c in (SEMANTIC, STEPS, WORDS))
    rows = zip(structural, semantic, steps, words, strict=True)
    return {
        str(i): question(
            f"n{i % 398}", " ".join(["why"] * w), "yes", f"{a} {b} c", ["select: x"] * s
        )
        for i, (a, b, s, w) in enumerate(rows)
    }


def test_llava_13b_counts_print_the_published_row(tmp_path: Path) -> None:
    questions = published()
    data = write(tmp_path / "gqa", questions, "testdev_balanced_questions.json")
    left = {name: right for name, (right, _) in RIGHT.items()}
    said = {}
    for id, row in questions.items():
        left[row["types"]["structural"]] -= 1
        said[id] = "yes" if left[row["types"]["structural"]] >= 0 else "no"
    found = values(score(tmp_path, data, said))
    assert {name: round(found[name], 2) for name in PRINTED} == PRINTED
    assert round(found["structural.verify"], 2) == 83.26
    task = make_task("gqa", str(data))
    assert task.source.version == "testdev_balanced" and not any("compar" in n for n in task.notes)


def test_a_set_with_other_counts_is_refused_with_a_table(tmp_path: Path) -> None:
    questions = published()
    questions["0"]["types"]["structural"] = "choose"
    data = write(tmp_path / "gqa", questions, "testdev_balanced_questions.json")
    with pytest.raises(DataError, match=r"structural query +expected +6,805 +found +6,804 +<-"):
        make_task("gqa", str(data))
    write(data, dict(list(questions.items())[:12_000]), "testdev_balanced_questions.json")
    with pytest.raises(DataError, match=r"questions +expected +12,578 +found +12,000 +<-"):
        make_task("gqa", str(data))


def test_a_real_gold_file_with_a_line_less_is_refused(tmp_path: Path) -> None:
    gold = shared("gqa/derived_testdev_balanced_gt.jsonl").read_text().splitlines(keepends=True)
    file = tmp_path / "derived_testdev_balanced_gt.jsonl"
    file.write_text("".join(gold[:-1]))
    with pytest.raises(DataError, match=r"questions +expected +12,578 +found +12,577 +<-"):
        make_task("gqa", str(tmp_path))
    file.write_text("".join([*gold, gold[5]]))
    with pytest.raises(DataError, match="the id '202218649' comes twice"):
        make_task("gqa", str(tmp_path))
    file.write_text("".join(gold)[:-30])
    with pytest.raises(DataError, match="line 12578: not JSON"):
        make_task("gqa", str(tmp_path))
    file.write_text("".join(gold))
    asked = shared("gqa/llava_gqa_testdev_balanced.jsonl").read_text()
    (tmp_path / "llava_gqa_testdev_balanced.jsonl").write_text(
        asked.replace("overcast", "sunny", 1)
    )
    with pytest.raises(DataError, match="the two are not one set"):
        make_task("gqa", str(tmp_path))


def test_real_predictions_agree_with_the_verdicts_beside_them(tmp_path: Path) -> None:
    """The other tool compared as the official script does; its sum of verdicts is 5,263."""
    data = shared("gqa")
    model = make(
        str(data / "GQA_Result_compare.csv"), id_field="question_id", answer_field="pred_ans"
    )
    record = run(model, "gqa", data=data, out=tmp_path / "run")
    assert record.metrics["accuracy"]["value"] == pytest.approx(5263 / 125.78)
    assert record.metrics["accuracy"]["clusters"] == 398
    right = {}
    for variant in VARIANTS:
        task = make_task(f"gqa/{variant}", str(data))
        asked = list(task.samples())
        answers = dict(model.answer(asked, "generate", task.decoding))
        right[variant] = sum(task.score(s, answers[i]).value for i, s in enumerate(asked))  # type: ignore[misc, arg-type]
    assert right["official"] == right["llava"] == 5263
    assert right["lavis"] > right["lmms"] >= right["vlmeval"] >= right["official"]


def test_our_prompts_are_those_of_llavas_question_file() -> None:
    file = shared("gqa/llava_gqa_testdev_balanced.jsonl")
    theirs = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        theirs[row["question_id"]] = (row["image"], row["text"])
    ours = make_task("gqa", str(file.parent)).samples()
    assert {s.id: (s.prompt[0].name, s.prompt[1]) for s in ours} == theirs  # type: ignore[union-attr]


@pytest.mark.parametrize("variant", ["", *VARIANTS])
def test_contract(tmp_path: Path, official: Path, variant: str) -> None:
    name = f"gqa/{variant}".rstrip("/")
    task = make_task(name, str(official))
    found = list(task.samples())
    assert len({s.id for s in found}) == 9 and task.headline == "accuracy"
    assert [s.cluster for s in found] == ["10"] * 4 + ["20"] * 5  # an image's questions together
    assert task.scorer == f"gqa/{variant or 'llava'}@1"
    oracle = values(run("oracle", name, data=official, out=tmp_path / "oracle"))
    assert oracle["accuracy"] == oracle["binary"] == oracle["open"] == oracle["consistency"] == 100
    assert oracle.get("distribution", 0) == 0 and oracle.get("validity", 100) == 100
    constant = values(run("constant:yes", name, data=official, out=tmp_path / "constant"))
    assert constant["accuracy"] == pytest.approx(100 / 7)
    assert values(run("constant:", name, data=official, out=tmp_path / "empty"))["accuracy"] == 0


def test_several_files_are_chosen_from_and_one_can_be_named(official: Path) -> None:
    write(official, {"1": QUESTIONS["01"]}, "testdev_balanced_questions.json")
    task = make_task("gqa", str(official))
    assert len(list(task.samples())) == 1
    assert "testdev_balanced, val_all; testdev_balanced was taken" in task.notes[0]
    named = make_task("gqa", str(official / "questions1.2" / "val_all_questions.json"))
    assert len(list(named.samples())) == 9 and named.source.split == "val_all"


def test_chunked_files_are_read_together(tmp_path: Path) -> None:
    for i, id in enumerate(("01", "02")):
        write(
            tmp_path / "gqa" / "train_all_questions",
            {id: QUESTIONS[id]},
            f"train_all_questions_{i}.json",
        )
    assert len(list(make_task("gqa", str(tmp_path / "gqa")).samples())) == 2


@pytest.mark.parametrize("stringly", [False, True])
def test_hub_tables_are_the_same_questions(tmp_path: Path, stringly: bool) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = []
    for id, row in QUESTIONS.items():
        row = {k: v for k, v in row.items() if k not in ("annotations", "equivalent")}
        entailed = str(row["entailed"]) if stringly else row["entailed"]
        rows.append({"id": id, **row, "entailed": entailed})
    for part, table in (
        ("instructions", pa.Table.from_pylist(rows)),
        ("images", pa.Table.from_pylist([{"id": "20", "image": {"bytes": b"jpeg", "path": "x"}}])),
    ):
        folder = tmp_path / "hub" / f"testdev_balanced_{part}"
        folder.mkdir(parents=True)
        parquet.write_table(table, folder / "testdev-00000-of-00001.parquet")
    found = values(score(tmp_path, tmp_path / "hub", SAID))
    assert found["consistency"] == 75 and found["steps.3"] == 50
    assert found["distribution"] == pytest.approx(0.0225)
    images = {s.cluster: s.prompt[0] for s in make_task("gqa", str(tmp_path / "hub")).samples()}
    assert images["20"].read() == b"jpeg"  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"10\.jpg: the data folder holds no images"):
        images["10"].read()  # type: ignore[union-attr]


def test_images_lie_beside_the_questions_and_never_outside(official: Path) -> None:
    (official / "images").mkdir()
    (official / "images" / "10.jpg").write_bytes(b"jpeg")
    first = next(iter(make_task("gqa", str(official)).samples()))
    assert first.prompt[0].read() == b"jpeg"  # type: ignore[union-attr]
    write(official / "questions1.2", {**QUESTIONS, "01": {**QUESTIONS["01"], "imageId": "../.."}})
    with pytest.raises(DataError, match="leads out of the data folder"):
        make_task("gqa", str(official))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no questions in it"),
        ([], "expected a JSON dict, found a list"),
        ({"1": {"question": "x", "imageId": "y"}}, "question '1': no text in the field 'answer'"),
        ({"1": {"question": 5, "imageId": "y", "answer": "z"}}, "no text in the field 'question'"),
        ({"1": "x"}, "question '1': expected an object, found a str"),
        ({"1": {**QUESTIONS["06"]}}, "no balanced questions"),
    ],
)
def test_damaged_questions_are_told(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_task("gqa", str(write(tmp_path / "gqa", content)))


def test_choices_of_another_set_and_empty_folders_are_told(tmp_path: Path, official: Path) -> None:
    write(official, {"01": CHOICES["01"]}, "val_choices.json")
    with pytest.raises(DataError, match=r"question '02'.*belongs to another question set"):
        make_task("gqa", str(official))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no GQA questions\..*testdev_balanced_questions.json"):
        make_task("gqa", str(tmp_path / "empty"))


def test_every_rule_has_a_variant() -> None:
    assert set(VARIANTS) == set(RULES)
