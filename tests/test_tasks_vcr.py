"""VCR: a published number from real logits, both stages, text styles, drawing, damaged data."""

import csv
import json
from io import BytesIO

import made_vcr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from shared_data import shared

from harness.api import run
from harness.check import check_task
from harness.errors import DataError, UsageError
from harness.find import make_task
from harness.fingerprint import item
from harness.stats import estimate_all
from harness.types import Answer, Metric
from tasks._vcr_files import processed
from tasks.vcr import NAMES, by_detection, by_mention, letter, spoken


def values(record):
    return {name: metric["value"] for name, metric in record.metrics.items()}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_vl_bert_logits_give_67_30_on_the_real_rows(tmp_path):
    import numpy as np

    data = shared("vcr/vcr_cs/vcr_cs_val_original.jsonl")
    logits = np.load(shared("vcr/mcs/base.npy"))
    task = make_task("vcr", str(data))
    asked = [s for s in task.samples() if s.groups["stage"] == "answer"]
    rows = []
    for sample in asked:
        number = int(sample.id.split("/")[0].split("#")[0].removeprefix("val-"))
        rows.append({"id": sample.id, "scores": logits[number].tolist()})
    answers = write_jsonl(tmp_path / "vl-bert.jsonl", rows)
    record = run(f"recorded:{answers}", task, out=tmp_path / "run")
    assert round(record.metrics["answer"]["value"], 2) == 67.30 and len(rows) == 159
    assert record.metrics["answer"]["n"] == 159 and record.metrics["rationale"]["value"] is None
    assert record.metrics["joint"]["value"] is None  # no rationale was answered: not 0
    assert record.run["status"] == "incomplete" and record.counts["missing"] == 159


def test_real_rows_that_repeat_an_id_stay_apart():
    task = make_task("vcr/clip", str(shared("vcr/vcr_cs/vcr_cs_val_original.jsonl")))
    again = [s for s in task.samples() if "#2" in s.id]
    assert len(again) == 14 and any("7 rows repeat" in note for note in task.notes)
    assert any("not comparable" in note for note in task.notes)


def test_the_real_row_with_its_frame(tmp_path):
    found = list(make_task("vcr", str(shared("vcr/derived_val-1.jsonl"))).samples())
    answer, rationale = found
    assert answer.prompt[1] == "question: does [0] live in this house ? answer:"
    assert answer.target == "no , [0] is a visitor ." and answer.choices[3].startswith(
        "no [1] does"
    )
    said = "question: does [0] live in this house ? no , [0] is a visitor . answer:"
    assert rationale.prompt[1] == said and rationale.id == "val-1/rationale"
    left, top, right, bottom = answer.regions[0].box
    assert (left, top) == pytest.approx((955.74, 52.33), abs=0.01) and right > left and bottom > top
    picture = Pictures.open(BytesIO(answer.prompt[0].read()))
    assert picture.size == (1920, 797)
    assert picture.getpixel((956, 400)) == (0x05, 0xFF, 0x37)  # [0]: green edge
    assert picture.getpixel((21, 700)) == (0x99, 0xCC, 0xFF)  # [1]: light blue edge


@pytest.fixture
def data(tmp_path):
    return made_vcr.write(tmp_path / "vcr")[""]


def replies(path, task, right):
    """Write scores for every sample: the gold choice wins where `right(sample)`, else another."""
    rows = []
    for sample in task.samples():
        gold, count = sample.facts["gold"], len(sample.choices)
        at = gold if right(sample) else (gold + 1) % count
        rows.append({"id": sample.id, "scores": [float(i == at) for i in range(count)]})
    return write_jsonl(path, rows)


def test_joint_needs_both_stages_of_the_same_row(data, tmp_path):
    task = make_task("vcr", str(data))

    def right(sample):
        number = int(sample.id.split("/")[0].removeprefix("val-"))
        return number < 36 if sample.groups["stage"] == "answer" else number >= 24

    record = run(f"recorded:{replies(tmp_path / 'a.jsonl', task, right)}", task, out=tmp_path / "a")
    assert values(record) == {"answer": 75.0, "rationale": 50.0, "joint": 25.0}  # not 37.5
    joint = record.metrics["joint"]
    assert joint["n"] == joint["asked"] == 48 and joint["clusters"] == 16
    assert joint["low"] < 25 < joint["high"]

    only = replies(tmp_path / "b.jsonl", task, lambda s: s.groups["stage"] == "answer")
    record = run(f"recorded:{only}", task, out=tmp_path / "b")
    assert values(record) == {"answer": 100.0, "rationale": 0.0, "joint": 0.0}


def test_half_a_row_has_no_joint_value(data, tmp_path):
    task = make_task("vcr", str(data))
    full = replies(tmp_path / "full.jsonl", task, lambda s: True).read_text().splitlines()
    kept = [line for line in full if '"val-0/answer"' not in line and '"val-7/rat' not in line]
    half = tmp_path / "half.jsonl"
    half.write_text("\n".join(kept) + "\n")
    record = run(f"recorded:{half}", task, out=tmp_path / "run")
    assert values(record) == {"answer": 100.0, "rationale": 100.0, "joint": 100.0}
    assert record.metrics["joint"]["n"] == 46 and record.metrics["joint"]["asked"] == 48


PAIRS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=1, max_size=40
)


@settings(deadline=None)
@given(PAIRS)
def test_joint_lies_between_the_bounds_and_is_recomputable_from_rows(pairs):
    rows = []
    for number, (answer, rationale, frame) in enumerate(pairs):
        for stage, hit in (("answer", answer), ("rationale", rationale)):
            rows.append({"id": f"{number}/{stage}", "score": float(hit), "status": "scored",
                         "cluster": f"f{frame}", "groups": {"stage": stage},
                         "stats": {"row": str(number)}})  # fmt: skip
    metrics = (
        Metric("answer", where={"stage": "answer"}),
        Metric("rationale", where={"stage": "rationale"}),
        Metric("joint", "both", where={"stage": "rationale"}, options={"row": "row"}),
    )
    found = {name: e.value for name, e in estimate_all(rows, metrics).items()}
    a, r, joint = found["answer"], found["rationale"], found["joint"]
    assert joint == pytest.approx(100 * sum(x and y for x, y, _ in pairs) / len(pairs))
    assert max(0, a + r - 100) - 1e-9 <= joint <= min(a, r) + 1e-9


def test_the_first_of_equal_scores_wins_as_in_the_official_script(data, tmp_path):
    record = run("constant", "vcr", data=data, out=tmp_path / "run")
    assert values(record)["answer"] == 25.0  # the share of gold answers in first place
    task = make_task("vcr", str(data))
    sample = next(s for s in task.samples() if s.facts["gold"] == 2)
    assert task.score(sample, Answer(scores=(0.0, 1.0, 1.0, 0.0))).value == 0
    assert task.score(sample, Answer(scores=(0.0, 0.5, 1.0, 1.0))).value == 1
    assert task.score(sample, Answer(choice=-1)).status == "unparsed"


def test_the_leaderboard_csv_is_replayed_after_being_unfolded(data, tmp_path):
    """The rationale columns of the gold answer count, whatever the row's own answer is."""
    task = make_task("vcr", str(data))
    gold = {(s.id.split("/")[0], s.groups["stage"]): s.facts["gold"] for s in task.samples()}
    groups = ["answer", *(f"rationale_conditioned_on_a{i}" for i in range(4))]
    table = tmp_path / "submission.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["annot_id", *(f"{group}_{i}" for group in groups for i in range(4))])
        for row in {name for name, _ in gold}:
            wrong = (gold[row, "answer"] + 1) % 4
            cells = [float(i == wrong) for i in range(4)]
            for at in range(4):
                best = gold[row, "rationale"] + (at != gold[row, "answer"])
                cells += [float(i == best % 4) for i in range(4)]
            writer.writerow([row, *cells])
    rows = []
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            for group in groups:
                scores = [float(row[f"{group}_{i}"]) for i in range(4)]
                rows.append({"id": f"{row['annot_id']}/{group}", "scores": scores})
    flat = write_jsonl(tmp_path / "flat.jsonl", rows)
    record = run(f"recorded:{flat}", task, out=tmp_path / "run", options={"extra": "ignore"})
    assert values(record) == {"answer": 0.0, "rationale": 100.0, "joint": 0.0}


def test_lskd_text():
    tokens = ("Why", "are", (0, 4), "with", (2,), "?")
    assert spoken(tokens, lambda i: f"[{i}]") == "Why are [0] , [4] with [2] ?"
    prompt, choices = processed("Is [0] OK ?", ["Yes , HE is ! ", "no"])
    assert prompt == "question: is [0] ok ? answer:" and choices == ("yes , he is !", "no")
    prompt, choices = processed("w " * 59 + "w", ["A b c d e f g h i j", "x"])
    assert len(prompt.split()) == 62 and choices == ("a b c d e f g h i", "x")  # 70 in all
    prompt, choices = processed("w " * 99 + "w", ["a", "b"])
    assert len(prompt.split()) == 71 and choices == ("", "")


def test_regions_are_numbered_in_order_of_object_id(data):
    found = {s.id: s for s in make_task("vcr", str(data)).samples()}
    answer, rationale = found["val-1/answer"], found["val-1/rationale"]
    assert answer.prompt[1] == "question: what will [1] do with [2] ? answer:"
    assert [r.label for r in answer.regions] == ["[0]", "[1]", "[2]", "[3]"]
    assert answer.regions[1].box == (24.5, 6.25, 40.0, 44.0)
    assert rationale.choices[0] == "[0] , [0] stand near 0 ."
    assert answer.prompt[0] is rationale.prompt[0]  # one picture for both stages, drawn once
    assert all(s.relevance[s.facts["gold"]] == 1 == sum(s.relevance) for s in found.values())


def test_numbers_are_renewed_where_objects_are_not_mentioned(tmp_path):
    row = made_vcr.row(0, 1)
    row["question"] = ["Where", "is", [3], "going", "?"]
    row["answer_choices"] = [["To", [1], "."], ["Home", "."], ["To", [3], "."], ["Away", "."]]
    made_vcr.lines(tmp_path, [row])
    made_vcr.frames(tmp_path, 1)
    sample = next(iter(make_task("vcr", str(tmp_path)).samples()))
    assert sample.prompt[1] == "question: where is [1] going ? answer:"
    assert sample.choices[0] == "to [0] ." and sample.choices[2] == "to [1] ."
    assert [r.box[0] for r in sample.regions] == [24.5, 30.0]
    picture = Pictures.open(BytesIO(sample.prompt[0].read()))
    assert picture.getpixel((25, 30)) == (0x05, 0xFF, 0x37)  # slot 0 is object 1
    assert picture.getpixel((30, 3)) == (0x99, 0xCC, 0xFF)  # slot 1 is object 3


def test_shuffled_regions_stay_consistent_and_do_not_change_from_run_to_run(data):
    plain = {s.id: s for s in make_task("vcr", str(data)).samples()}
    mixed = {s.id: s for s in make_task("vcr/shuffled", str(data)).samples()}
    assert [item(s) for s in mixed.values()] == [
        item(s) for s in make_task("vcr/shuffled", str(data)).samples()
    ]
    changed = 0
    for name, sample in mixed.items():
        box = {r.label: r.box for r in plain[name].regions}
        new = {r.box: r.label for r in sample.regions}
        assert [r.label for r in sample.regions] == [f"[{i}]" for i in range(len(new))]
        for before, after in zip(plain[name].choices, sample.choices, strict=True):
            words = [new[box[w]] if w in box else w for w in before.split()]
            assert " ".join(words) == after
        changed += sample.choices != plain[name].choices
    assert changed > len(mixed) / 2


OBJECTS = ("person", "person", "tie", "person", "chair", *("person",) * 14)


def test_names_by_first_mention():
    """R2C vcr_loader.py: ids one after another, things by class, mentions carried into choices."""
    text, names = by_mention(("Why", "does", (3,), "hug", (1, 2), "?"), OBJECTS)
    assert text == "Why does Casey hug Riley tie ?"
    assert by_mention(((1,), "likes", (3,), "."), OBJECTS, names)[0] == "Riley likes Casey ."
    people = tuple(i for i, name in enumerate(OBJECTS) if name == "person")
    said = by_mention((people,), OBJECTS)[0].split()
    assert tuple(said[:15]) == NAMES and said[6] == said[10] == "Peyton" and said[15] == "Casey"


def test_a_person_first_met_in_a_choice_is_casey_again():
    _, names = by_mention(((3,), "and", (1,)), OBJECTS)
    text, _ = by_mention(((0,), "sees", (3,), "and", (5,), (0,)), OBJECTS, names)
    assert text == "Casey sees Casey and Riley Casey"


def test_names_by_detection_number():
    """R2C dataloaders/vcr.py: relevant detections numbered from 1; the first person is Riley."""
    assert by_detection(((3,), "?"), [((1,),), ("no",)], OBJECTS) == {1: "Riley", 3: "Jessie"}
    assert by_detection(((2,), (3,)), [], OBJECTS) == {2: "tie", 3: "Jessie"}
    everyone = by_detection(("Everyones", (4,)), [], OBJECTS)
    assert everyone[0] == "Riley" and everyone[4] == "chair" and 2 not in everyone
    assert by_detection(("why", "?"), [("so",)], OBJECTS[:5]) == {
        0: "Riley", 1: "Jessie", 3: "Jackie"
    }  # fmt: skip


def test_prompts_of_the_variants(data):
    def first(variant):
        samples = {s.id: s for s in make_task(f"vcr/{variant}", str(data)).samples()}
        return samples["val-0/answer"], samples["val-0/rationale"]

    answer, rationale = first("clip")
    assert len(answer.prompt) == 1 and answer.choices[2] == "chair wants thing0 ."
    assert "#" not in answer.prompt[0].name and answer.choices[0] == answer.choices[1]
    answer, rationale = first("plain")
    assert answer.prompt[1] == "question: why is person looking at person , person ? answer:"
    assert rationale.prompt[1].endswith("? person wants thing0 . answer:")
    answer, rationale = first("names")
    assert answer.prompt[1] == "Why is Casey looking at Riley Jessie ?"
    assert rationale.choices == tuple(f"Casey {n} stand near {i} ." for i, n in
                                      enumerate(("Casey", "Riley", "chair", "Jessie")))  # fmt: skip
    answer, _ = first("names-vocab")
    assert answer.prompt[1] == "Why is Riley looking at Jessie Avery ?"
    answer, _ = first("boxes")
    assert "[1] is the person at (0.383, 0.130, 0.625, 0.917); [2] is the chair" in answer.prompt[1]
    assert answer.prompt[1].endswith("Question: Why is [0] looking at [1] , [3] ? Answer:")
    answer, _ = first("generate")
    assert answer.prompt[1] == (
        "Choose the best letter option answering the question. Question: Why is person0 looking at "
        "person1 , person3 ? Answer: A) person0 wants thing0 . B) person1 wants thing0 . "
        "C) chair2 wants thing0 . D) person3 wants thing0 ."
    )
    assert answer.target == "A" and answer.choices == ("A", "B", "C", "D")


def test_letters_are_coloured_by_object_id_and_numbers_by_slot(tmp_path):
    row = made_vcr.row(0, 1)
    row["question"], row["answer_choices"] = ["Why", [2], "?"], [["a"], ["b"], ["c"], ["d"]]
    made_vcr.lines(tmp_path, [row])
    made_vcr.frames(tmp_path, 1)

    def edge(name):
        sample = next(iter(make_task(name, str(tmp_path)).samples()))
        return Pictures.open(BytesIO(sample.prompt[0].read())).getpixel((42, 30))

    assert edge("vcr") == (0x05, 0xFF, 0x37) and edge("vcr/generate") == (0xCC, 0x99, 0xFF)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B", "B"),
        (" B ", "B"),
        ("(C)", "C"),
        ("C) because", "C"),
        ("D. he is", "D"),
        ("A: yes", "A"),
        ("The answer is B.", "B"),
        ("A man is there", None),
        ("Because", None),
        ("b", None),
        ("", None),
    ],
)
def test_letters(text, found):
    assert letter(text) == found


@given(st.text())
def test_letters_take_any_text(text):
    assert letter(text) is None or letter(text) in "ABCDE"


def test_answers_in_words_are_unparsed_and_wrong(data, tmp_path):
    record = run("constant:A man", "vcr/generate", data=data, out=tmp_path / "a")
    assert record.counts["unparsed"] == 96 and values(record)["joint"] == 0
    record = run("constant:A)", "vcr/generate", data=data, out=tmp_path / "b")
    assert values(record) == {"answer": 25.0, "rationale": 25.0, "joint": 6.25}


def test_nothing_is_opened_or_drawn_until_a_model_looks(data, tmp_path):
    for frame in (data / "vcr1images").rglob("*.jpg"):
        frame.write_bytes(b"no picture")
    assert values(run("oracle", "vcr", data=data, out=tmp_path / "run"))["joint"] == 100
    assert not all(good for _, good, _ in check_task("vcr", str(data)))
    with pytest.raises(DataError, match="no picture"):
        next(iter(make_task("vcr", str(data)).samples())).prompt[0].read()


def test_without_frames_floors_and_replays_work(tmp_path):
    made_vcr.lines(tmp_path, [made_vcr.row(i, q) for i in range(16) for q in range(3)])
    findings = list(check_task("vcr", str(tmp_path)))
    assert all(good for _, good, _ in findings) and "none in the data folder" in findings[1][2]
    with pytest.raises(DataError, match="holds no images"):
        next(iter(make_task("vcr", str(tmp_path)).samples())).prompt[0].read()
    with pytest.raises(DataError, match=r"frame 0@0.json is not in the data folder"):
        make_task("vcr/boxes", str(tmp_path))


def test_frames_beside_the_annotations_folder_are_found(tmp_path):
    made_vcr.lines(tmp_path / "vcr1annots", [made_vcr.row(0, 0)])
    made_vcr.frames(tmp_path, 1)
    for address in (tmp_path, tmp_path / "vcr1annots", tmp_path / "vcr1annots" / "val.jsonl"):
        sample = next(iter(make_task("vcr/clip", str(address)).samples()))
        assert sample.prompt[0].read().startswith(b"\xff\xd8")


def test_metadata_of_another_version_or_none(data):
    path = next((data / "vcr1images").rglob("frame 0@0.json"))
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | {"boxes": meta["boxes"][:3]}))
    with pytest.raises(DataError, match="3 boxes, but the questions name 4 objects"):
        make_task("vcr", str(data))
    path.write_text(json.dumps(meta | {"boxes": [[9, 9, 1, 1, 0.5]] * 4}))
    with pytest.raises(DataError, match="ends before it begins"):
        make_task("vcr", str(data))
    path.write_text("{}")
    with pytest.raises(DataError, match=r"frame 0@0.json: expected boxes"):
        make_task("vcr", str(data))
    path.unlink()
    sample = next(s for s in make_task("vcr", str(data)).samples() if s.id == "val-0/answer")
    with pytest.raises(DataError, match="not beside it"):
        sample.prompt[0].read()
    assert next(iter(make_task("vcr/clip", str(data)).samples())).prompt[0].read()


def without(*names):
    return lambda row: {k: v for k, v in row.items() if k not in names}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("img_fn"), "line 1: no field 'img_fn'"),
        (without("answer_label", "rationale_label"), "the test split has no labels"),
        (lambda row: row | {"answer_label": 4}, "answer_label is 4, expected 0 to 3"),
        (lambda row: row | {"answer_label": True}, "answer_label is True"),
        (lambda row: row | {"question": [[9]]}, r"question has \[9\], expected .* 4 objects"),
        (lambda row: row | {"question": [[-1]]}, r"question has \[-1\]"),
        (lambda row: row | {"question": [3]}, "question has 3, expected a word or ids"),
        (lambda row: row | {"question": "Why ?"}, "expected a list of words"),
        (lambda row: row | {"answer_choices": [["a"]]}, "answer_choices is not a list of 4"),
        (lambda row: row | {"objects": "person"}, "'objects' is no list"),
        (lambda row: row | {"img_fn": "../../secret.jpg"}, "leads out of the data folder"),
        (lambda row: row | {"metadata_fn": "/etc/passwd"}, "leads out of the data folder"),
    ],
)
def test_damaged_rows_are_named(tmp_path, change, says):
    made_vcr.frames(tmp_path, 1)
    made_vcr.lines(tmp_path, [change(made_vcr.row(0, 0))])
    with pytest.raises(DataError, match=says):
        make_task("vcr", str(tmp_path))


def test_a_cut_published_file_is_refused(tmp_path):
    line = json.dumps(without("question_orig")(made_vcr.row(0, 0)))
    (tmp_path / "val.jsonl").write_text((line + "\n") * 13_267)
    with pytest.raises(DataError, match=r"expected\s+26,534\s+found\s+13,267"):
        make_task("vcr/clip", str(tmp_path))


def test_what_is_said_without_data(tmp_path, monkeypatch):
    monkeypatch.delenv("SIGHTLINE_DATA", raising=False)
    with pytest.raises(DataError, match=r"--data FOLDER with val\.jsonl"):
        make_task("vcr")
    with pytest.raises(DataError, match="no hub has"):
        make_task("vcr", "hf:owner/vcr")
    made_vcr.lines(tmp_path, [made_vcr.row(0, 0)]).rename(tmp_path / "other.jsonl")
    with pytest.raises(DataError, match=r"It has other\.jsonl: name one of them"):
        make_task("vcr", str(tmp_path))
    made_vcr.write(tmp_path / "vcr", images=1)
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path))
    assert len(list(make_task("vcr").samples())) == 6


def test_unknown_variant(data):
    with pytest.raises(UsageError, match="did you mean"):
        make_task("vcr/name", str(data))
