"""Mixtures name the published sets and counts; converters make their records from raw files."""

import json
import pickle
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, UsageError
from trainers import llava15
from trainers.convert import regions, text, vqa
from trainers.convert.__main__ import SOURCES
from trainers.convert.__main__ import main as convert
from trainers.convert.common import Raw, majority, off_square, on_square, record, write, written
from trainers.engine import records
from trainers.recipe import Recipe

NAMES = sorted(path.stem for path in records.MIXTURES.glob("llava*.yaml"))
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
LADDER = {
    "llava15-rung0": {"llava_instruct"},
    "llava15-rung1": {"vqav2"},
    "llava15-rung2": set(),
    "llava15-rung4": {"okvqa", "aokvqa", "ocrvqa", "textcaps"},
    "llava15-rung5": {"refcoco", "vg"},
    "llava15-rung7": {"gqa"},
    "llava15-665k": {"sharegpt"},
}
"""What each rung of table 4.2 that changes the data adds to the one before."""


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def values(made):
    return [turn["value"] for turn in made["conversations"]]


# ---- Mixtures ----


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_is_complete(name):
    found = records.mixture(name)
    assert found.summary and found.source
    assert all(slot.license for slot in found.slots)
    assert len({slot.name for slot in found.slots}) == len(found.slots)


def test_the_665k_mixture_has_the_authors_counts():
    found = {slot.name: slot for slot in records.mixture("llava15-665k").slots}
    assert {name: slot.records for name, slot in found.items()} == {
        "llava_instruct": 157_712, "sharegpt": 40_688, "vqav2": 82_783, "gqa": 72_140,
        "okvqa": 8_998, "ocrvqa": 80_000, "aokvqa": 66_160, "textcaps": 21_953,
        "refcoco": 48_447, "vg": 86_417,
    }  # fmt: skip
    assert sum(slot.records for slot in found.values()) == 665_298
    assert {slot.name for slot in found.values() if slot.suffix == SHORT} == {
        "vqav2", "gqa", "okvqa", "ocrvqa",
    }  # fmt: skip
    assert [slot.name for slot in found.values() if slot.suffix == LETTER] == ["aokvqa"]
    converted = {name: count for name, (_, count, _) in SOURCES.items() if count}
    assert all(found[name].records == count for name, count in converted.items())


def test_each_rung_of_table_42_adds_what_it_says():
    before: set[str] = set()
    for name, added in LADDER.items():
        slots = {slot.name for slot in records.mixture(name).slots}
        assert slots - before == added and before <= slots
        before = slots
    plain, formatted = (
        {slot.name: slot.suffix for slot in records.mixture(f"llava15-rung{n}").slots}
        for n in (1, 2)
    )
    assert plain["vqav2"] == "" and formatted["vqav2"] == SHORT


def test_the_rungs_change_one_thing_at_a_time():
    seen = []
    for n in range(10):
        recipe = llava15.make(f"rung{n}")
        options = recipe.builder_options
        seen.append((recipe.mixture, options["connector"], options["vision"], options["language"]))
    changes = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairwise(seen)]
    assert changes == [1] * 9
    final, whole = llava15.make("stage2"), llava15.make("rung8")
    same = {"name", "summary", "targets"}
    assert final.model_dump(exclude=same) == whole.model_dump(exclude=same)


def test_llava_next_leaves_textcaps_out_and_adds_documents_and_charts():
    base = {slot.name for slot in records.mixture("llava15-665k").slots}
    found = {slot.name: slot for slot in records.mixture("llava-next-760k").slots}
    assert base - set(found) == {"textcaps"}
    assert {"docvqa", "synthdog_en", "chartqa", "dvqa", "ai2d", "laion_gpt4v", "sharegpt4v"} < set(
        found
    )
    assert "private" in found["user_requests_15k"].license
    public = {slot.name for slot in records.mixture("llava-next-public").slots}
    assert set(found) - public == {"user_requests_15k"}


def test_the_subsampling_of_figure_44_is_nested_and_keeps_the_shares(tmp_path):
    recipe = llava15.make("fraction-0.5")
    assert recipe.fraction == 0.5 and llava15.make("fraction-0.1").fraction == 0.1
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for slot in records.mixture(recipe.mixture).slots:
        rows = [{"id": f"{slot.name}{i}", "conversations": turns} for i in range(40)]
        put(tmp_path, f"{slot.file or slot.name}.json", rows)
    taken = {}
    for name in ("fraction-0.1", "fraction-0.3", "fraction-0.5"):
        found = records.read(llava15.make(name), tmp_path)
        taken[name] = {found.get(i)[0].id for i in range(len(found))}
        assert len(taken[name]) == 10 * 40 * float(name.partition("-")[2])
        assert any("published" in note for note in found.notes)
    assert taken["fraction-0.1"] < taken["fraction-0.3"] < taken["fraction-0.5"]


def test_missing_sets_are_all_named(tmp_path):
    put(tmp_path, "vqav2.json", [])
    with pytest.raises(DataError, match="llava_instruct") as error:
        records.read(Recipe.model_validate({"name": "x", "mixture": "llava15-665k"}), tmp_path)
    assert "gqa" in str(error.value) and "vqav2" not in str(error.value)


# ---- Boxes ----

sides = st.integers(1, 4000)


@given(sides, sides, st.data())
def test_boxes_on_the_padded_square_come_back(width, height, data):
    x = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    y = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    box = (x[0], y[0], x[1], y[1])
    shares = on_square(box, (width, height))
    assert all(0 <= share <= 1 for share in shares)
    assert off_square(shares, (width, height)) == pytest.approx(box, abs=1e-6)


def test_boxes_are_fractions_of_the_padded_square_not_of_the_picture():
    # 100 x 50: padded by 25 above and below
    assert on_square((0, 0, 100, 50), (100, 50)) == (0, 0.25, 1, 0.75)
    assert on_square((10, 0, 20, 40), (40, 101)) == tuple(
        map(float, (Fraction(40, 101), 0, Fraction(50, 101), Fraction(40, 101)))
    )
    assert written((0.123, 1.0000001, -0.001, 0.999)) == "[0.12, 1.00, 0.00, 1.00]"


def test_the_padding_is_where_the_processor_puts_it():
    import numpy as np
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    for height, width in ((40, 101), (101, 40), (7, 8)):
        white = np.full((3, height, width), 255, dtype=np.uint8)
        square = LlavaImageProcessorPil().pad_to_square(white, (0, 0, 0))
        rows, columns = (np.flatnonzero(square[0].max(axis=axis)) for axis in (1, 0))
        shares = on_square((0, 0, width, height), (width, height))
        side = max(height, width)
        found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert tuple(round(share * side) for share in shares) == found


# ---- Converters ----


def write_vqa(folder, prefix, questions, answers):
    put(folder, f"{prefix}OpenEnded_mscoco_train2014_questions.json", {"questions": questions})
    put(folder, f"{prefix}mscoco_train2014_annotations.json", {"annotations": answers})


def test_vqav2_is_one_conversation_per_image(tmp_path):
    questions = [{"image_id": 9 + i % 2, "question": f"Q{i}?", "question_id": i} for i in range(6)]
    answers = [{"question_id": i, "multiple_choice_answer": f"a{i}", "answers": []}
               for i in range(6)]  # fmt: skip
    write_vqa(tmp_path, "v2_", questions, answers)
    made = list(vqa.vqav2(Raw(tmp_path)))
    assert [one["image"] for one in made] == [
        "coco/train2017/000000000009.jpg", "coco/train2017/000000000010.jpg",
    ]  # fmt: skip
    asked = [v.removeprefix("<image>\n") for v in values(made[0])]
    assert {tuple(asked[i : i + 2]) for i in (0, 2, 4)} == {
        ("Q0?", "a0"),
        ("Q2?", "a2"),
        ("Q4?", "a4"),
    }
    assert sum("<image>" in v for v in values(made[0])) == 1
    assert made == list(vqa.vqav2(Raw(tmp_path)))
    assert len({json.dumps(list(vqa.vqav2(Raw(tmp_path, seed=s)))) for s in range(8)}) > 1
    assert len(values(next(vqa.vqav2(Raw(tmp_path, turns=2))))) == 4


def test_okvqa_takes_the_commonest_answer_and_the_first_of_equals(tmp_path):
    said = [{"answer": word} for word in ("cat", "dog", "dog", "cat", "cow")]
    write_vqa(
        tmp_path, "", [{"image_id": 1, "question": "Q?", "question_id": 5}],
        [{"question_id": 5, "answers": said}],
    )  # fmt: skip
    assert values(next(vqa.okvqa(Raw(tmp_path)))) == ["<image>\nQ?", "cat"]
    with pytest.raises(DataError, match="no answers"):
        majority([])


def test_a_question_without_answers_is_named(tmp_path):
    write_vqa(tmp_path, "", [{"image_id": 1, "question": "Q?", "question_id": 5}], [])
    with pytest.raises(DataError, match="no answers to question 5"):
        list(vqa.okvqa(Raw(tmp_path)))


def test_aokvqa_asks_four_times_with_the_right_option_in_each_place(tmp_path):
    row = {"image_id": 7, "question_id": "x", "question": "Which?",
           "choices": ["w", "x", "y", "z"], "correct_choice_idx": 2}  # fmt: skip
    put(tmp_path, "aokvqa_v1p0_train.json", [row, row | {"image_id": 8}])
    made = list(vqa.aokvqa(Raw(tmp_path)))
    assert len(made) == 8
    mine = [values(one) for one in made if one["image"].endswith("7.jpg")]
    assert sorted(answer for _, answer in mine) == list("ABCD")
    for question, answer in mine:
        options = dict(line.split(". ") for line in question.splitlines()[2:])
        assert options[answer] == "y" and sorted(options.values()) == list("wxyz")


def test_gqa_short_answers(tmp_path):
    rows = {str(i): {"imageId": "n1", "question": f"Q{i}?", "answer": "yes",
                     "fullAnswer": "Yes, it is."} for i in range(3)}  # fmt: skip
    put(tmp_path, "train_balanced_questions.json", rows)
    (made,) = vqa.gqa(Raw(tmp_path))
    assert made["image"] == "gqa/images/n1.jpg" and values(made)[1::2] == ["yes"] * 3


def test_ocrvqa_draws_from_the_training_split(tmp_path):
    rows = {f"b{i}": {"split": 1 + (i == 0), "questions": ["Who?", "What?"],
                      "answers": ["Me", "It"]} for i in range(30)}  # fmt: skip
    put(tmp_path, "dataset.json", rows)
    made = list(text.ocrvqa(Raw(tmp_path, options={"records": "10"})))
    assert len(made) == 10 and "ocrvqa-b0" not in {one["id"] for one in made}
    assert len(list(text.ocrvqa(Raw(tmp_path)))) == 29
    with pytest.raises(UsageError, match="whole number"):
        list(text.ocrvqa(Raw(tmp_path, options={"records": "many"})))


def test_textcaps_shows_the_detected_words(tmp_path):
    rows = [{"image_id": "i1", "caption_str": caption} for caption in ("A bus.", "A red bus.")]
    put(tmp_path, "TextCaps_0.1_train.json", {"data": rows})
    seen = {"data": [{"image_id": "i1", "ocr_tokens": ["STOP", "42"]}]}
    put(tmp_path, "TextVQA_Rosetta_OCR_v0.2_train.json", seen)
    (made,) = text.textcaps(Raw(tmp_path))
    question, answer = values(made)
    assert question.splitlines()[-1].endswith(": STOP, 42") and answer in ("A bus.", "A red bus.")


def test_sharegpt_is_cut_after_the_last_reply_that_fits(tmp_path):
    def turn(role, words):
        return {"from": role, "value": " ".join(["word"] * words)}

    talks = [
        [turn("human", 60), turn("gpt", 60), turn("human", 60), turn("gpt", 60)],
        [turn("gpt", 5), turn("human", 5)],
        [turn("human", 200), turn("gpt", 5)],
        [turn("human", 5), turn("gpt", 0)],
        [turn("system", 5), turn("human", 5), turn("gpt", 5), turn("gpt", 5)],
    ]
    rows = [{"id": f"t{i}", "conversations": talk} for i, talk in enumerate(talks)]
    put(tmp_path, "sharegpt.json", rows)
    made = list(text.sharegpt(Raw(tmp_path, options={"tokens": "200"})))
    assert [one["id"] for one in made] == ["sharegpt-0-t0", "sharegpt-4-t4"]
    assert [len(values(one)) for one in made] == [2, 2] and "image" not in made[0]


def test_refcoco_asks_both_ways_on_the_padded_square(tmp_path):
    refs = [
        {"ann_id": i, "image_id": 1, "split": split, "sentences": [{"sent": f"thing {i}"}]}
        for i, split in enumerate(["train"] * 20 + ["val"])
    ]
    folder = tmp_path / "refcoco"
    annotations = [{"id": i, "bbox": [10, 0, 30, 50]} for i in range(21)]
    images = [{"id": 1, "file_name": "COCO_train2014_000000000031.jpg", "width": 100, "height": 50}]
    put(folder, "instances.json", {"images": images, "annotations": annotations})
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs))
    raw = Raw(tmp_path, turns=30, options={"sets": "refcoco"})
    (made,) = regions.refcoco(raw)
    assert made["image"] == "coco/train2017/000000000031.jpg"
    said = values(made)
    asked = list(zip(said[::2], said[1::2], strict=True))
    place = "[0.10, 0.25, 0.40, 0.75]"
    describe = [q for q, _ in asked if q.endswith(regions.DESCRIBE + place)]
    find = [a for _, a in asked if a == place]
    assert len(describe) + len(find) == 20 and 4 <= len(find) <= 16
    assert not any("thing 20" in one for one in said)
    with pytest.raises(UsageError, match="known are"):
        list(regions.refcoco(Raw(tmp_path, options={"sets": "refcoco,xyz"})))


def test_visual_genome_takes_some_regions_of_each_image(tmp_path):
    phrases = [{"x": 0, "y": 0, "width": 5, "height": 5 + i, "phrase": f"p{i} "} for i in range(40)]
    put(tmp_path, "region_descriptions.json", [{"id": 3, "regions": phrases}])
    meta = [{"image_id": 3, "width": 100, "height": 100, "url": "https://x/VG_100K_2/3.jpg"}]
    put(tmp_path, "image_data.json", meta)
    (made,) = regions.vg(Raw(tmp_path))
    assert made["image"] == "vg/VG_100K_2/3.jpg" and len(values(made)) == 20


# ---- Writing ----


def test_the_command_writes_records_a_manifest_and_what_is_published(tmp_path, capsys):
    rows = {str(i): {"imageId": f"n{i % 3}", "question": "Q?", "answer": "yes"} for i in range(9)}
    put(tmp_path / "raw", "train_balanced_questions.json", rows)
    for i in range(3):
        path = tmp_path / f"images/gqa/images/n{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i]))
    out = tmp_path / "records/gqa.jsonl"
    command = ["gqa", "--raw", str(tmp_path / "raw"), "--out", str(out)]
    assert convert([*command, "--images", str(tmp_path / "images")]) == 0
    assert "the published mixture has 72,140" in capsys.readouterr().out
    whole, *lines = map(json.loads, (out.parent / "gqa.manifest.jsonl").read_text().splitlines())
    assert whole["records"] == 3 and whole["pairs"] == 9 and len(lines) == 3
    assert len({line["sha256"] for line in lines}) == 3
    recipe = Recipe.model_validate({"name": "x", "data": [{"name": "gqa"}]})
    assert len(records.read(recipe, out.parent)) == 3


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (["--raw", "nowhere"], 3, "no such folder"),
        (["--set", "x=1"], 2, "no options"),
        (["--images", "."], 3, "no such image"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, capsys, change, code, said):
    put(tmp_path, "train_balanced_questions.json",
        {"1": {"imageId": "n", "question": "Q?", "answer": "yes"}})  # fmt: skip
    out = tmp_path / "out.jsonl"
    assert convert(["gqa", "--raw", str(tmp_path), "--out", str(out), *change]) == code
    assert said in capsys.readouterr().err and not out.exists()


def test_a_file_of_another_format_is_a_data_error(tmp_path, capsys):
    put(tmp_path, "aokvqa_v1p0_train.json", [{"question": "Q?"}])
    command = ["aokvqa", "--raw", str(tmp_path), "--out", str(tmp_path / "o.jsonl")]
    assert convert(command) == 3
    assert "does not have the official format" in capsys.readouterr().err


def test_ids_are_unique_and_nothing_is_not_a_set(tmp_path):
    same = [record("a", None, [("q", "a")])] * 2
    with pytest.raises(DataError, match="'a' comes twice"):
        write(tmp_path / "o.jsonl", "x", same, Raw(tmp_path))
    with pytest.raises(DataError, match="no records"):
        write(tmp_path / "o.jsonl", "x", [], Raw(tmp_path))
