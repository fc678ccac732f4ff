"""Judging a run: every verdict kept, an outage is no number, budgets hold, nothing asked twice.

What needs a server is in test_judging_served.py.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import answered, answers_in, judged, named, scripted

from harness import run as loop
from harness.api import load, run
from harness.errors import DataError, RunStopped, UsageError
from harness.find import make_model, make_task
from harness.judge_budget import Budget, Ledger, worst
from harness.judging import How, Judge, forecast, preview
from harness.record import read_lines, read_rows
from harness.types import Answer, Decoding, Failure, Sample


def lines(folder: Path, name: str = "verdicts.jsonl") -> list[dict]:
    return list(read_lines(folder / name))


def test_the_system_message_of_the_sample_reaches_a_local_model_too():
    pytest.importorskip("transformers")
    from types import SimpleNamespace

    from harness.engine.inputs import Reader

    class Template:
        chat_template = "x"
        bos_token = None

        def apply_chat_template(self, turns, tokenize, add_generation_prompt):
            return "".join(f"<{t['role']}>{t['content']}" for t in turns)

    reader = Reader(Template(), None, "auto", "the option")
    assert reader.text(("hello",)) == "<system>the option<user>hello"
    assert reader.text(("hello",), "the task") == "<system>the task<user>hello"
    plain = Reader(SimpleNamespace(chat_template=None), None, "auto", None)
    assert plain.text(("hello",), "the task") == "the task\n\nhello"


# Votes, panels, orders ---------------------------------------------------------------------


def test_repeats_are_votes_with_their_own_seeds_and_disagreement_is_kept(tmp_path):
    task, folder = answered(tmp_path)
    judge = scripted(lambda s, d: f"8 {4 + d.seed}")
    record = judged(folder, task, judge, repeats=3)
    row = next(record.rows())
    assert row["stats"]["votes"] == [{"ref": 8.0, "cand": c} for c in (4.0, 5.0, 6.0)]
    assert row["stats"]["cand"] == 5.0 and row["score"] == pytest.approx(4 / 9)
    assert record.run["judging"]["values"]["all"] == [50.0, 62.5, 75.0]
    assert record.metrics["all"]["value"] == 62.5
    assert [d.seed for _, d in judge.model.asked[::12]] == [0, 1, 2]


def test_one_unreadable_vote_does_not_take_the_others_away(tmp_path):
    task, folder = answered(tmp_path)
    record = judged(folder, task, scripted(lambda s, d: "hm" if d.seed == 1 else "8 4"), repeats=3)
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == 50.0
    assert record.run["judging"]["values"]["all"] == [50.0, None, 50.0]
    assert record.run["judging"]["counts"]["unreadable"] == 12
    assert next(record.rows())["stats"]["votes"][1] is None


def test_a_panel_votes_judge_by_judge(tmp_path):
    task, folder = answered(tmp_path)
    kind, strict = scripted(lambda s, d: "8 8", name="a"), scripted(lambda s, d: "8 4", name="b")
    record = judged(folder, task, kind, strict)
    assert record.run["judging"]["values"]["all"] == [100.0, 50.0]
    assert record.metrics["all"]["value"] == 75.0


def test_with_both_orders_a_vote_needs_both(tmp_path):
    task, folder = answered(tmp_path, "llava_bench/swap")

    def half(sample, decoding):
        first, _ = answers_in(sample.prompt[0])
        swapped = first.startswith("Candidate")
        return "unclear" if swapped and sample.id == "3" else "4 8" if swapped else "8 4"

    record = judged(folder, task, scripted(half))
    assert record.counts["unjudged"] == 1
    assert next(r for r in record.rows() if r["id"] == "3")["status"] == "unjudged"


# Another judge, another metric -------------------------------------------------------------


def test_judging_again_keeps_the_old_verdicts_and_says_who_judged(tmp_path):
    task, folder = answered(tmp_path)
    first = judged(folder, task, scripted(lambda s, d: "8 4", name="a"))
    second = judged(folder, task, scripted(lambda s, d: "8 6", name="b"))
    assert first.metrics["all"]["value"] == 50.0 and second.metrics["all"]["value"] == 75.0
    assert first.run["fingerprint"]["judge"] != second.run["fingerprint"]["judge"]
    assert first.run["fingerprint"]["scorer"] == second.run["fingerprint"]["scorer"]
    (old,) = second.run["judgings"]
    assert old["file"] == "verdicts-1.jsonl" and old["metrics"]["all"]["value"] == 50.0
    assert {line["label"] for line in lines(folder, old["file"])} == {"reference"}
    assert len(lines(folder)) == 12


def test_an_unfinished_judging_never_shows_the_numbers_of_the_one_before(tmp_path):
    task, folder = answered(tmp_path)
    judged(folder, task, scripted(lambda s, d: "8 4", name="a"))
    seen = []

    def look(sample, decoding):
        record = load(folder)
        scored = sum(row["status"] == "scored" for row in record.rows())
        seen.append((record.run["status"], record.metrics["all"]["value"], scored))
        assert record.frame()["score"].notna().sum() == scored
        return "8 6"

    judged(folder, task, scripted(look, name="b"))
    assert seen == [("running", None, i) for i in range(12)]


def test_rubric_and_repeats_are_part_of_the_fingerprint(tmp_path):
    task, folder = answered(tmp_path)
    one = judged(folder, task, scripted(lambda s, d: "8 4"))
    two = judged(folder, task, scripted(lambda s, d: "8 4"), repeats=2)
    assert one.run["fingerprint"]["judge"] != two.run["fingerprint"]["judge"]
    rules = tmp_path / "data" / "rule.json"
    rules.write_text(rules.read_text(encoding="utf-8").replace("Rate", "Grade"), encoding="utf-8")
    other = make_task("llava_bench", str(tmp_path / "data"))
    three = judged(folder, other, scripted(lambda s, d: "8 4"))
    assert three.run["fingerprint"]["judge"] != one.run["fingerprint"]["judge"]


def test_the_same_judge_is_not_asked_again_unless_told_to(tmp_path):
    task, folder = answered(tmp_path)
    judge = scripted(lambda s, d: "8 4")
    judged(folder, task, judge)
    record = judged(folder, task, judge)
    assert len(judge.model.asked) == 12 and record.run["judgings"] == []
    record = judged(folder, task, judge, fresh=True)
    assert len(judge.model.asked) == 24 and len(record.run["judgings"]) == 1


def test_resuming_the_run_keeps_its_verdicts(tmp_path):
    task, folder = answered(tmp_path)
    judged(folder, task, scripted(lambda s, d: "8 4"))
    file = tmp_path / "answers.jsonl"
    asked_again = run(f"recorded:{file}", task, out=folder, resume=True)
    assert asked_again.run["status"] == "complete" and asked_again.metrics["all"]["value"] == 50.0
    assert asked_again.run["judging"]["counts"]["readable"] == 12
    assert asked_again.run["fingerprint"]["judge"]


def test_answers_without_a_verdict_are_not_asked_of_the_model_again(tmp_path):
    task, folder = answered(tmp_path)
    model = make_model("constant:something else")
    with pytest.raises(UsageError, match="holds another run"):
        run(model, task, out=folder, resume=True)
    asked = []

    class Counting:
        name, looks = f"recorded-{'answers.jsonl'}", False

        def describe(self):
            return {}

        def answer(self, samples, ask, decoding):
            asked.extend(samples)
            return iter(())

    address = load(folder).run["model"]["address"]
    loop.run(loop.plan(task, Counting(), address=address), folder, resume=True)
    assert asked == []


def test_missing_answers_are_not_judged(tmp_path):
    task, _ = answered(tmp_path)
    file = tmp_path / "some.jsonl"
    file.write_text('{"id": "0", "text": "x"}\n{"id": "1", "text": "y"}\n', encoding="utf-8")
    run(f"recorded:{file}", task, out=tmp_path / "part")
    judge = scripted(lambda s, d: "8 4")
    record = judged(tmp_path / "part", task, judge)
    assert [s.id for s, _ in judge.model.asked] == ["0", "1"]
    assert record.counts["missing"] == 10 and record.run["status"] == "incomplete"
    assert record.metrics["all"]["value"] == 50.0 and record.metrics["all"]["asked"] == 12


def test_other_data_another_task_and_tasks_with_a_rule_are_refused(tmp_path):
    _, folder = answered(tmp_path)
    questions = tmp_path / "data" / "questions.jsonl"
    text = questions.read_text(encoding="utf-8")
    questions.write_text(text.replace("What is 3", "What was 3"), encoding="utf-8")
    changed = make_task("llava_bench", str(tmp_path / "data"))
    with pytest.raises(DataError, match="sample '3' was another question then"):
        judged(folder, changed, named("oracle"))
    with pytest.raises(UsageError, match="is a run of llava_bench, not of llava_bench/swap"):
        judged(folder, make_task("llava_bench/swap", str(tmp_path / "data")), named("oracle"))
    from small_data import write_pope

    pope = make_task("pope", str(write_pope(tmp_path / "pope")))
    run("constant:yes", pope, out=tmp_path / "p")
    with pytest.raises(UsageError, match="scored by a rule"):
        judged(tmp_path / "p", pope, named("oracle"))


# Words of any shape ------------------------------------------------------------------------

HOSTILE = [
    "", " ", "\n", "\x00", "8", "8 9 10", "8\t9", "__import__('os').abort()", "{0}{x}%s",
    "\ud800 8", "9" * 100_000, "1e999 1", "nan nan", "[" * 50_000, "\u202e8 4", "<script>8 4",
    "8 4 " * 10_000, "-0 -0", "٨ ٤",
]  # fmt: skip


@pytest.mark.parametrize("task", ["llava_bench", "llava_bench/official", "llava_bench/lmms"])
def test_words_of_any_shape_never_crash_a_run(tmp_path, task):
    made, folder = answered(tmp_path, task)
    words = iter(HOSTILE * 12)
    record = judged(folder, made, scripted(lambda s, d: next(words)), repeats=2)
    done = record.counts["scored"] + record.counts["unparsed"] + record.counts["unjudged"]
    assert done == 12 and record.run["status"] in ("complete", "incomplete")
    assert len(lines(folder)) == 24
    assert record.frame().shape[0] == 12


def test_a_bug_in_reading_costs_the_verdict_and_says_so(tmp_path):
    task, folder = answered(tmp_path)

    def read(text, swapped):
        raise ZeroDivisionError("a bug")

    broken = replace(task, judge=replace(task.judge, read=read))
    record = judged(folder, broken, scripted(lambda s, d: "8 4"))
    assert record.counts["unjudged"] == 12
    assert "raised ZeroDivisionError: a bug" in next(record.rows())["error"]


def test_a_judge_that_breaks_or_is_silent_leaves_a_good_record(tmp_path):
    task, folder = answered(tmp_path)

    class Breaks:
        name = "breaks"

        def describe(self):
            return {"kind": "x"}

        def answer(self, samples, ask, decoding):
            yield 0, Answer("8 4")
            raise ZeroDivisionError("lost")

    with pytest.raises(RunStopped, match=r"ZeroDivisionError: lost.*same command"):
        judged(folder, task, Judge(Breaks(), "breaks"))
    record = load(folder)
    assert record.run["status"] == "stopped" and record.counts["scored"] == 1
    assert record.run["judging"]["counts"]["open"] == 11

    class Silent(Breaks):
        def answer(self, samples, ask, decoding):
            return iter(())

    record = judged(folder, task, Judge(Silent(), "breaks"))
    assert record.counts["unjudged"] == 11
    assert "gave no reply" in next(r for r in record.rows() if r["status"] == "unjudged")["error"]


# Budget ------------------------------------------------------------------------------------


def test_the_budget_stops_before_the_call_that_could_break_it(tmp_path):
    task, folder = answered(tmp_path)
    prices = {"price_in": 1000.0, "price_out": 1000.0}
    judge = scripted(lambda s, d: "8 4", tokens=(100, 10))  # 0.11 each
    asked = task.judge.prompt(next(iter(task.samples())), "x" * 40, False, 0)
    most = sum(worst(asked, task.judge.decodings[0])) / 1000  # about 1.5
    with pytest.raises(RunStopped, match=r"budget \(2.0000\) is used up.*goes on"):
        judged(folder, task, judge, money=2.0, **prices)
    record = load(folder)
    made = len(judge.model.asked)
    assert record.run["judging"]["cost"] == pytest.approx(0.11 * made) and made >= 3
    assert 0.11 * made + most * 0.9 > 2.0 - 0.2  # it did not stop early
    assert record.run["status"] == "stopped" and record.counts["unjudged"] == 12 - made
    with pytest.raises(RunStopped):
        judged(folder, task, judge, money=2.0, **prices)
    assert len(judge.model.asked) == made  # what was spent before counts
    record = judged(folder, task, judge, money=5.0, **prices)
    assert record.run["status"] == "complete" and len(judge.model.asked) == 12
    assert record.run["judging"]["cost"] == pytest.approx(1.32)


def test_a_budget_below_the_first_call_asks_nothing(tmp_path):
    task, folder = answered(tmp_path)
    judge = scripted(lambda s, d: "8 4")
    with pytest.raises(RunStopped, match="spent 0 tokens"):
        judged(folder, task, judge, tokens=1000)
    assert judge.model.asked == []


def test_calls_without_a_count_are_taken_at_their_worst(tmp_path):
    task, folder = answered(tmp_path)
    judge = scripted(lambda s, d: Failure("timed out"))
    with pytest.raises(RunStopped, match="is used up"):
        judged(folder, task, judge, tokens=4000)
    assert 1 <= len(judge.model.asked) <= 3
    section = load(folder).run["judging"]
    assert section["without_count"]["calls"] == len(judge.model.asked)
    assert section["without_count"]["tokens_at_most"] <= 4000


@pytest.mark.parametrize("spend", [(1, 1), (700, 1), (1, 1024), (1500, 1024)])
def test_no_sum_of_replies_within_their_limits_can_pass_the_budget(spend):
    ledger = Ledger(Budget(tokens=10_000))
    calls = [(1500, 1024)] * 50
    while number := ledger.admits(calls):
        for _ in range(number):
            line = {"cached": False, "tokens_in": spend[0], "tokens_out": spend[1], "worst": [0, 0]}
            ledger.enter(line)
        calls = calls[number:]
    assert ledger.tokens_in + ledger.tokens_out <= 10_000


def test_the_worst_of_a_prompt_is_more_than_any_tokenizer_makes_of_it():
    text = "日本語🙂 plain"
    into, out = worst(Sample("1", (text,), system="s"), Decoding(max_tokens=7))
    assert into >= len(text.encode()) + 1 and out == 7


def test_budgets_that_cannot_be_kept_are_refused():
    with pytest.raises(UsageError, match="--price-in"):
        Budget(money=1.0)
    with pytest.raises(UsageError, match="pairs"):
        Budget(price_in=1.0)
    with pytest.raises(UsageError, match="0 or more"):
        Budget(tokens=-1)


def test_the_price_is_told_before(tmp_path):
    task, folder = answered(tmp_path)
    budget = Budget(money=0.01, price_in=30, price_out=60)
    how = How([named("oracle")], repeats=2, budget=budget)
    text = "\n".join(preview(folder, task, how))
    assert text.startswith("verdicts    24 to ask") and "at most 24,576 out" in text
    assert "0.0100 may not be enough" in text
    before = "\n".join(forecast(task, list(task.samples()), how))
    assert "answers taken to be as long as the gold ones" in before
    judged(folder, task, named("oracle"), repeats=2)
    assert preview(folder, task, how)[0].startswith("verdicts    0 to ask")


# Folders ----------------------------------------------------------------------------------


def test_two_processes_cannot_judge_one_folder(tmp_path):
    task, folder = answered(tmp_path)

    def second(sample, decoding):
        if sample.id == "0":
            with pytest.raises(UsageError, match="another process is writing"):
                judged(folder, task, named("oracle"))
        return "8 4"

    assert judged(folder, task, scripted(second)).metrics["all"]["value"] == 50.0


def test_a_damaged_line_is_named(tmp_path):
    task, folder = answered(tmp_path)
    judged(folder, task, named("oracle"))
    path = folder / "verdicts.jsonl"
    path.write_bytes(b"{broken}\n" + path.read_bytes())
    with pytest.raises(DataError, match=r"verdicts.jsonl, line 1: damaged"):
        list(read_rows(folder))
