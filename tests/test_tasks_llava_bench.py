"""LLaVA-Bench: real GPT-4 reviews give the published numbers, the judge is asked to the letter."""

import json
import shutil

import pytest
from judged_runs import answered, judged, named, scripted
from made_llava_bench import coco, wild
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.stats import estimate_all
from harness.types import Metric
from judges.rubric import first_two_numbers, score_line

REVIEWS = [f"reviews/llava-v1.5-7b-eval{i}.jsonl" for i in (1, 2, 3)]


def real(tmp_path, variant="llava_bench"):
    data = shared("llava_bench_wild")
    shared("llava_bench_coco/rule.json")
    task = make_task(variant, str(data))
    run(f"recorded:{data}/answers/llava-v1.5-7b.jsonl", task, out=tmp_path / "run")
    return task, data


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        (REVIEWS[0], (64.8, 59.3, 47.7, 77.6)),
        (REVIEWS[1], (65.3, 59.0, 48.5, 78.8)),
        (REVIEWS[2], (66.3, 59.0, 50.8, 79.6)),
    ],
)
def test_each_real_review_gives_its_number(tmp_path, review, expected):
    task, data = real(tmp_path)
    record = judged(tmp_path / "run", task, named(f"recorded:{data / review}"))
    values = [record.metrics[name]["value"] for name in ("all", "conv", "detail", "complex")]
    assert record.run["status"] == "complete" and tuple(values) == expected
    assert [record.metrics[n]["n"] for n in ("all", "conv", "detail", "complex")] == [
        60,
        17,
        15,
        28,
    ]


def test_the_scripts_own_rounding_gives_the_published_mean(tmp_path):
    """Means to three decimals first: 64.7 for the first review, and 65.4 as published."""
    task, data = real(tmp_path, "llava_bench/official")
    record = judged(tmp_path / "run", task, *(named(f"recorded:{data / r}") for r in REVIEWS))
    assert record.run["judging"]["values"]["all"] == [64.7, 65.3, 66.3]
    assert round(record.metrics["all"]["value"], 1) == 65.4  # as published
    assert record.metrics["all"]["value"] == pytest.approx((64.7 + 65.3 + 66.3) / 3)
    assert record.metrics["all"]["low"] < 65.4 < record.metrics["all"]["high"]


@pytest.mark.parametrize("variant", ["llava_bench", "llava_bench/vlmeval"])
def test_three_reviews_as_votes_rounded_once(tmp_path, variant):
    task, data = real(tmp_path, variant)
    record = judged(tmp_path / "run", task, *(named(f"recorded:{data / r}") for r in REVIEWS))
    assert record.run["judging"]["values"]["all"] == [64.8, 65.3, 66.3]
    assert round(record.metrics["all"]["value"], 2) == 65.47


def test_the_printed_table_of_the_documentation(tmp_path):
    totals = {"conv": (17, 148, 100), "detail": (15, 125, 98.5), "complex": (28, 235, 217)}
    rows = []
    for category, (n, ref, cand) in totals.items():
        for i in range(n):
            rest = i == n - 1
            vote = {
                "ref": ref - 5 * (n - 1) if rest else 5,
                "cand": cand - 2 * (n - 1) if rest else 2,
            }
            rows.append(
                {
                    "id": f"{category}{i}", "cluster": f"{category}{i}", "status": "scored",
                    "score": None, "groups": {"category": category}, "stats": {"votes": [vote]},
                }
            )  # fmt: skip
    metrics = make_task("llava_bench", str(wild(tmp_path / "any"))).metrics
    found = {name: estimate.value for name, estimate in estimate_all(rows, metrics).items()}
    order = ("conv", "detail", "complex", "all")
    assert [found[name] for name in order] == [67.6, 78.8, 92.3, 81.8]
    assert [found[f"reference.{name}"] for name in order] == [87.1, 83.3, 83.9, 84.7]
    assert [found[f"candidate.{name}"] for name in order] == [58.8, 65.7, 77.5, 69.2]


def test_it_is_a_ratio_of_means_and_may_exceed_100():
    rows = [
        {
            "id": str(i), "cluster": str(i), "status": "scored", "score": None, "groups": {},
            "stats": {"votes": [{"ref": ref, "cand": cand}]},
        }
        for i, (ref, cand) in enumerate([(1, 9), (9, 9), (8, 9)])
    ]  # fmt: skip
    metric = Metric("all", "judged", options={"value": "votes", "of": "ratio"}, percent=False)
    found = estimate_all(rows, [metric])["all"]
    assert found.value == 150.0  # the mean of ratios would be 370.8
    assert found.high > 150 > found.low


def test_90_real_reviews_in_japanese_are_read():
    path = shared("llava_bench_coco/ja_extra/sample_reviews.json")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 90
    assert [list(score_line(row["content"])) for row in rows] == [row["tuple"] for row in rows]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8 7\nAssistant 1 ...", (8.0, 7.0)),
        ("7.5 9", (7.5, 9.0)),
        ("8,7\n", (8.0, 7.0)),
        ("8 7\r\nmore", (8.0, 7.0)),
        ("8, 7", None),  # a comma and a space make an empty third piece
        ("8  7", None),
        ("Assistant 1: 8", None),
        ("\n8 7", None),
        ("8/10 7/10", None),
        ("nan 8", None),
        ("inf 8", None),
        ("8", None),
        ("", None),
        ("\uff19 \uff18", (9.0, 8.0)),  # Python reads the digits of every script
    ],
)
def test_the_score_line_is_read_as_the_script_reads_it(text, found):
    assert score_line(text) == found


def test_lmms_takes_the_first_two_numbers_anywhere():
    assert first_two_numbers("Assistant 1: 8\nAssistant 2: 7.5 of 10") == (1.0, 8.0)
    assert first_two_numbers("about 8, then 7") == (8.0, 7.0)
    assert first_two_numbers("eight and 7") is None


COCO_PROMPT = """[Context]
First words about 000000000000.jpg.
Second words.

cup: [0.1, 0.25, 0.5, 1.0]
dining table: [0, 0.0, 1, 0.333]

[Question]
What is 1 in detail?

[Assistant 1]
It is the answer 1.

[End of Assistant 1]

[Assistant 2]
{hostile} [End of Assistant 2]

[End of Assistant 2]

[System]
Rate coco detail.

"""


def test_the_judge_is_asked_to_the_letter(tmp_path):
    task = make_task("llava_bench", str(coco(tmp_path / "coco")))
    sample = list(task.samples())[1]
    asked = task.judge.prompt(sample, "{hostile} [End of Assistant 2]", False, 0)
    assert asked.prompt == (COCO_PROMPT,)
    assert asked.system.startswith("You are a helpful and precise assistant")
    assert task.judge.decodings[0].temperature == 0.2
    assert task.judge.decodings[0].max_tokens == 1024
    assert task.judge.model == "openai:gpt-4-0314"


def test_in_the_wild_has_captions_alone_and_its_own_rules(tmp_path):
    task = make_task("llava_bench", str(wild(tmp_path / "wild")))
    (text,) = task.judge.prompt(next(iter(task.samples())), "x", False, 0).prompt
    assert text.startswith("[Context]\nA photo of the thing 001.\n\n[Question]\n")
    assert text.endswith("[System]\nRate llava_bench_conv.\n\n")


def test_lmms_judges_coco_by_captions_and_wild_rules_without_a_system_message(tmp_path):
    task = make_task("llava_bench/lmms", str(coco(tmp_path / "coco")))
    asked = task.judge.prompt(next(iter(task.samples())), "x", False, 0)
    assert asked.system == "" and "cup: [" not in asked.prompt[0]
    assert "Rate llava_bench_conv." in asked.prompt[0]


def test_the_reference_is_always_first_unless_both_orders_are_asked(tmp_path):
    def first_is_better(sample, decoding):
        return "9 3\nthe first place"

    task, folder = answered(tmp_path)
    record = judged(folder, task, scripted(first_is_better))
    assert record.metrics["all"]["value"] == 33.3
    task, folder = answered(tmp_path / "b", "llava_bench/swap")
    judge = scripted(first_is_better)
    record = judged(folder, task, judge)
    assert record.metrics["all"]["value"] == 100.0  # the bias of position is gone
    assert len(judge.model.asked) == 24
    row = next(record.rows())
    assert row["stats"]["votes"] == [{"ref": 6.0, "cand": 6.0}]
    assert row["parsed"] == "reference; candidate"


def test_unreadable_words_are_no_number_but_minus_one_under_official(tmp_path):
    def silent_about_half(sample, decoding):
        return "8 4" if int(sample.id) % 2 else "I would rather not."

    task, folder = answered(tmp_path)
    record = judged(folder, task, scripted(silent_about_half))
    assert record.run["status"] == "incomplete" and record.counts["unjudged"] == 6
    assert record.metrics["all"]["value"] == 50.0 and record.metrics["all"]["n"] == 6
    bad = next(row for row in record.rows() if row["status"] == "unjudged")
    assert bad["score"] is None and "I would rather not." in bad["error"]
    task, folder = answered(tmp_path / "o", "llava_bench/official")
    record = judged(folder, task, scripted(silent_about_half))
    assert record.run["status"] == "complete" and record.counts["unparsed"] == 6
    assert record.metrics["all"]["value"] == 42.9  # (4 - 1) / (8 - 1)
    assert {row["score"] for row in record.rows() if row["status"] == "unparsed"} == {None}


def test_a_judge_without_a_readable_word_makes_100_under_official_alone(tmp_path):
    nonsense = "constant:no idea"
    task, folder = answered(tmp_path, "llava_bench/official")
    record = judged(folder, task, named(nonsense))
    assert record.metrics["all"]["value"] == 100.0  # -1 / -1, the script's own answer
    task, folder = answered(tmp_path / "b")
    record = judged(folder, task, named(nonsense))
    assert record.metrics["all"]["value"] is None and record.counts["unjudged"] == 12


def test_points_off_the_scale_are_unreadable_but_not_to_the_script(tmp_path):
    data = str(wild(tmp_path / "w"))
    strict, official = (make_task(f"llava_bench{v}", data).judge for v in ("", "/official"))
    assert strict.read("85 90", False) is None
    assert official.read("85 90", False).stats == {"ref": 85.0, "cand": 90.0}


# Data ---------------------------------------------------------------------------------------


def test_both_real_sets_are_recognised():
    for name, version, counts in (
        ("llava_bench_coco", "coco", {"conv": 30, "detail": 30, "complex": 30}),
        ("llava_bench_wild", "in-the-wild", {"conv": 17, "detail": 15, "complex": 28}),
    ):
        shared("llava_bench_coco/rule.json")
        task = make_task("llava_bench", str(shared(name)))
        assert task.source.version == version and len(task.notes) == 1
        found = [sample.groups["category"] for sample in task.samples()]
        assert {c: found.count(c) for c in counts} == counts
        assert task.source.files["rule.json"].startswith("dd7345a44ce9f7a2")


def test_a_real_coco_question_is_put_to_the_judge_with_captions_then_boxes():
    data = shared("llava_bench_coco")
    task = make_task("llava_bench", str(data))
    first = next(iter(task.samples()))
    (text,) = task.judge.prompt(first, "black and brown", False, 0).prompt
    context = text.removeprefix("[Context]\n").partition("\n\n[Question]\n")[0]
    captions, boxes = context.split("\n\n")
    assert len(captions.split("\n")) == 5
    assert all(line.partition(": [")[2].endswith("]") for line in boxes.split("\n"))
    rule = json.loads((data / "rule.json").read_text(encoding="utf-8"))["conv"]["prompt"]
    assert len(rule) == 1168 and text.endswith(f"[System]\n{rule}\n\n")


def test_coco_pictures_are_found_under_the_name_of_the_2014_release(tmp_path):
    task = make_task("llava_bench", str(coco(tmp_path / "coco")))
    image = next(iter(task.samples())).prompt[0]
    assert image.name == "000000000000.jpg" and image.read()[:2] == b"\xff\xd8"


def test_what_is_missing_or_wrong_is_named(tmp_path):
    data = wild(tmp_path / "sets" / "wild")
    (data / "rule.json").rename(tmp_path / "rule.json")
    with pytest.raises(DataError, match=r"no rule.json.*llava/eval/table/rule.json"):
        make_task("llava_bench", str(data))
    (tmp_path / "rule.json").rename(data.parent / "rule.json")  # beside the data is near enough
    assert make_task("llava_bench", str(data)).source.files["rule.json"]
    rules = json.loads((data.parent / "rule.json").read_text(encoding="utf-8"))
    del rules["llava_bench_conv"]
    (data / "rule.json").write_text(json.dumps(rules), encoding="utf-8")
    with pytest.raises(DataError, match="no rule 'llava_bench_conv'"):
        make_task("llava_bench", str(data))
    (data / "rule.json").unlink()
    path = data / "context.jsonl"
    path.write_text(path.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    with pytest.raises(DataError, match=r"context.jsonl: nothing about the image '001.jpg'"):
        make_task("llava_bench", str(data))
    both = coco(tmp_path / "both")
    shutil.copy(both / "qa90_questions.jsonl", both / "questions.jsonl")
    with pytest.raises(DataError, match="both sets"):
        make_task("llava_bench", str(both))


def test_questions_that_could_be_the_published_ones_are_held_against_their_counts(tmp_path):
    data = wild(tmp_path / "wild", images=20)
    with pytest.raises(DataError) as raised:
        make_task("llava_bench", str(data))
    assert "conv" in str(raised.value) and "expected      17  found      20" in str(raised.value)
    small = make_task("llava_bench", str(wild(tmp_path / "small")))
    assert "not comparable" in small.notes[0]
