"""Logs of lmms-eval 0.7.3: its own output on made questions, and LLaVA-1.5's answers in its layout.

The fixtures were written by the tool itself (tests/data/import/lmms_eval/README.md).
"""

import json
import shutil

import pytest
from import_data import (
    FAILED,
    FIXTURES,
    QUESTIONS,
    changed,
    pope_questions,
    write_lines,
    write_lmms_pope,
)
from shared_data import shared

from harness.errors import DataError, UsageError
from harness.importing import FILE, import_log, read_log, task_of

LOGS = FIXTURES / "lmms_eval"


@pytest.fixture
def log(tmp_path):
    """A copy of the tool's POPE log that a test may change."""
    folder = shutil.copytree(LOGS / "pope", tmp_path / "log")
    return next(folder.glob("*_samples_pope.jsonl"))


def pope(path, out, **more):
    return import_log(path, out, data=QUESTIONS / "pope", **more)


def kinds(result):
    found = {}
    for one in result.differences:
        found[one.kind] = found.get(one.kind, 0) + 1
    return found


def test_the_tools_own_numbers_follow_from_its_rule_and_ours_differ_with_reasons(tmp_path):
    result = pope(LOGS / "pope", tmp_path / "run")
    numbers = {one.name: one for one in result.aggregates}
    for name in ("pope_accuracy", "pope_precision", "pope_recall", "pope_f1_score"):
        assert numbers[name].rule == pytest.approx(numbers[name].there), name
    assert numbers["pope_accuracy"].there == pytest.approx(100 * 6 / 36)
    assert numbers["pope_accuracy"].here == pytest.approx(100 * 16 / 32)
    ratio = numbers["pope_yes_ratio"]
    assert ratio.there == 50 and ratio.here == pytest.approx(62.5) and "gold" in ratio.note
    assert kinds(result) == {"rule": 10, "failed": 4, "same": 22}
    said = {one.said.partition(";")[0] for one in result.differences if one.kind == "rule"}
    assert {"'Yes.'", "'No, there is not.'", "'No.'"} <= said
    assert all("pope/lmms" in o.why for o in result.differences if o.kind == "rule")


def test_error_texts_are_failures_and_never_scores(tmp_path):
    result = pope(LOGS / "pope", tmp_path / "run")
    failed = [row for row in result.record.rows() if row["status"] == "failed"]
    assert len(failed) == 4 and result.record.counts["failed"] == 4
    for row in failed:
        assert row["score"] is None and row["answer"] is None and FAILED in row["error"]
    told = [json.loads(line) for line in (tmp_path / "run" / FILE).read_text().splitlines()]
    by_id = {line["id"]: line for line in told}
    assert len(by_id) == 36 and by_id["1"]["metrics"]["pope_f1_score"]["prediction"] == "yes"
    assert {by_id[row["id"]]["score"] for row in failed} == {0.0}


def test_provenance_is_in_the_record_and_secrets_are_not(tmp_path):
    answers = ["yes"] * 12
    questions = pope_questions(QUESTIONS / "pope")["adversarial"]
    path = write_lmms_pope(tmp_path / "log", questions, answers)
    result = pope(path, tmp_path / "run")
    run = result.record.run
    section = run["imported"]
    assert (section["tool"], section["version"], section["task"]) == (
        "lmms-eval", "0.7.3", "pope_adv",
    )  # fmt: skip
    assert section["model"] == "llava-v1.5-7b" and section["date"] == "20260101_120000"
    assert set(section["files"]) == {path.name, "20260101_120000_results.json"}
    assert all(len(digest) == 64 for digest in section["files"].values())
    assert "hush" not in json.dumps(run) and "llava_hf" in section["model_args"]
    assert run["model"]["description"]["tool"] == "lmms-eval"
    assert run["task"]["decoding"]["max_tokens"] == 128
    assert section["aggregates"]["pope_yes_ratio"] == 0.5


def test_a_split_of_its_own_is_placed_in_its_split(tmp_path):
    questions = pope_questions(QUESTIONS / "pope")["popular"]
    said = ["yes", "no"] * 6
    path = write_lmms_pope(tmp_path / "log", questions, said, task="pope_pop")
    record = pope(path, tmp_path / "run").record
    rows = [row for row in record.rows() if row["status"] == "scored"]
    assert {row["groups"]["split"] for row in rows} == {"popular"} and len(rows) == 12
    assert record.metrics["popular.f1"]["value"] == 100 and record.counts["missing"] == 24


def test_scienceqa_letters_are_read_by_two_rules(tmp_path):
    result = import_log(LOGS / "scienceqa", tmp_path / "run", data=QUESTIONS / "scienceqa")
    (number,) = result.aggregates
    assert number.rule == pytest.approx(number.there) == pytest.approx(100 * 8 / 12)
    assert number.here == pytest.approx(100 * 6 / 11)
    by_said = {one.said.partition(";")[0]: one for one in result.differences}
    assert (by_said["'b'"].there, by_said["'b'"].here) == (1, 0)
    assert (by_said["'The answer is A.'"].there, by_said["'The answer is A.'"].here) == (0, 1)
    assert by_said["'b'"].kind == by_said["'The answer is A.'"].kind == "rule"
    assert result.record.run["task"]["decoding"]["max_tokens"] == 16


def test_a_judge_outage_that_scored_100_is_no_score_here(tmp_path):
    result = import_log(LOGS / "llava_in_the_wild", tmp_path / "run", data=QUESTIONS / "wild")
    assert {one.there for one in result.aggregates} == {100.0}
    assert {one.here for one in result.aggregates} == {None}
    assert kinds(result) == {"outage": 6}
    assert all("Connection error" in one.why for one in result.differences)
    assert result.record.counts["unjudged"] == 6
    assert result.record.metrics["all"]["value"] is None


def test_a_cut_off_last_line_is_missing_and_told(log, tmp_path):
    text = log.read_text(encoding="utf-8")
    log.write_text(text[:-200], encoding="utf-8")
    result = pope(log, tmp_path / "run")
    assert result.record.counts["missing"] == 1
    told = " ".join(result.notes)
    assert "line 36 is cut off" in told and "results are of 36 samples, it holds 35" in told


def test_damage_elsewhere_names_the_line(log, tmp_path):
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join([*lines[:4], lines[4][:50] + "\n", *lines[5:]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 5: not usable JSON"):
        pope(log, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_line_twice_counts_once_and_two_answers_are_refused(log, tmp_path):
    changed(log, lambda rows: [*rows, rows[3]])
    result = pope(log, tmp_path / "run")
    assert result.record.counts["total"] == 36
    assert any("1 samples stand twice" in note for note in result.notes)
    changed(log, lambda rows: [*rows[:-1], rows[3] | {"filtered_resps": "another"}])
    with pytest.raises(DataError, match=r"sample 3 has two answers .*line 4 and .*line 37"):
        pope(log, tmp_path / "other")


def test_rank_order_of_the_lines_does_not_matter(log, tmp_path):
    before = pope(log, tmp_path / "before").record
    changed(log, lambda rows: [*rows[0::2], *rows[1::2]])
    after = pope(log, tmp_path / "after").record
    assert after.metrics == before.metrics


def test_other_questions_are_refused_with_the_list(log, tmp_path):
    def reword(rows):
        for at in (4, 20):
            rows[at]["input"] = rows[at]["input"].replace("Is there a", "Can you see a")
        return rows

    changed(log, reword)
    with pytest.raises(DataError) as caught:
        pope(log, tmp_path / "run")
    said = str(caught.value)
    assert "2 of 36 rows ask another question" in said and "line 5" in said and "line 21" in said
    assert "Can you see a" in said and "Is there a" in said
    assert not (tmp_path / "run").exists()


def test_another_task_is_refused(tmp_path):
    with pytest.raises(DataError, match="12 of 12 rows"):
        import_log(LOGS / "scienceqa", tmp_path / "run", task="pope", data=QUESTIONS / "pope")


def test_likelihoods_are_refused_with_the_reason(log, tmp_path):
    changed(log, lambda rows: [row | {"filtered_resps": [[0.5, True]]} for row in rows])
    with pytest.raises(DataError, match="mean losses"):
        pope(log, tmp_path / "run")


def test_an_unknown_task_is_asked_for_with_near_names(tmp_path):
    path = tmp_path / "20260101_000000_samples_pope_mine.jsonl"
    source = next((LOGS / "pope").glob("*.jsonl"))
    shutil.copy(source, path)
    log = read_log(path)
    assert log.tool == "lmms-eval" and any("no results file" in note for note in log.notes)
    with pytest.raises(UsageError, match=r"calls the task 'pope_mine'.*--task NAME.*pope"):
        task_of(log, None)
    assert task_of(log, "pope/official")[0] == "pope/official"


def test_a_folder_with_two_logs_asks_which(tmp_path):
    for at in range(2):
        (tmp_path / f"{at}").mkdir()
        source = next((LOGS / "pope").glob("*.jsonl"))
        shutil.copy(source, tmp_path / f"{at}" / source.name)
    with pytest.raises(UsageError, match=r"holds 2 logs"):
        read_log(tmp_path)


def test_what_no_tool_wrote_is_refused(tmp_path):
    path = write_lines(tmp_path / "answers.jsonl", [{"question_id": 1, "text": "yes"}])
    with pytest.raises(DataError, match="not a log of inspect, lm-eval, lmms-eval, vlmevalkit"):
        read_log(path)
    with pytest.raises(UsageError, match="no tool to import from 'lmms'; did you mean lmms-eval"):
        read_log(path, "lmms")


def test_the_published_answers_of_llava_give_the_published_number(tmp_path):
    """F1 84.18 (published 84.2) of LLaVA-1.5-7B on the adversarial split."""
    folder = shared("pope")
    questions = pope_questions(folder / "coco_e3e3926")["adversarial"]
    file = folder / "answers" / "llava-v1.5-7b.haoming_partial.jsonl"
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    by_id = {row["question_id"]: row["text"] for row in lines}
    said = [by_id[asked["question_id"]] for asked in questions]
    chatty = {100: "No, there is not.", 200: "Yes.", 300: "Yes, a dog."}
    chatty = {at: words for at, words in chatty.items() if words.startswith(said[at])}
    said = [chatty.get(at, words) for at, words in enumerate(said)]
    path = write_lmms_pope(tmp_path / "log", questions, said)
    result = import_log(path, tmp_path / "run", data=folder / "coco_e3e3926")
    metrics = result.record.metrics
    assert round(metrics["adversarial.f1"]["value"], 2) == 84.18
    assert round(metrics["adversarial.accuracy"]["value"], 2) == 85.13
    assert round(metrics["adversarial.yes_ratio"]["value"], 1) == 44.0
    by_name = {one.name: one for one in result.aggregates}
    assert by_name["pope_yes_ratio"].there == 50 and round(by_name["pope_yes_ratio"].here, 1) == 44
    for one in result.aggregates:
        if one.name != "pope_yes_ratio":
            assert one.rule == pytest.approx(one.there)
    ruled = [one for one in result.differences if one.kind == "rule"]
    assert len(ruled) <= len(chatty) and chatty
    assert by_name["pope_accuracy"].there == pytest.approx(
        by_name["pope_accuracy"].here - 100 * len(ruled) / 3000
    )
