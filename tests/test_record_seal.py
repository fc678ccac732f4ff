"""The seal of a finished run: an edit that changes no number is seen, and old runs still read."""

import json

import pytest
from gate_runs import edit, gold, record, right_but, task
from judged_runs import answered, judged, scripted

from harness.api import run
from harness.errors import DataError
from harness.record import read
from reports.comparable import load
from reports.compare import compare
from reports.compare_text import text, to_json
from reports.gate.baselines import bless


def swapped(folder):
    """Exchange two rows: no number, no count and no item changes."""
    path = folder / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def test_an_edit_that_changes_no_number_is_seen_by_everything_that_reads(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, gold, task(30))
    before = load(tmp_path / "b")
    swapped(tmp_path / "b")
    with pytest.raises(DataError, match=r"sealed with when it ended \(rows.jsonl: sha256"):
        compare(before, load(tmp_path / "b"))
    with pytest.raises(DataError, match="edited by hand"):
        bless(tmp_path / "home", "v1", [tmp_path / "b"], "why")
    (tmp_path / "a/derived.jsonl").write_text("")
    with pytest.raises(DataError, match="derived"):
        load(tmp_path / "a")


def test_a_run_of_an_older_version_still_reads_and_is_marked(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, gold, task(30))
    edit(tmp_path / "a", seal=None)
    assert not read(tmp_path / "a").sealed and read(tmp_path / "b").sealed
    found = compare(load(tmp_path / "a"), load(tmp_path / "b"))
    assert text([found]).count("is not sealed") == 1
    assert json.loads(to_json([found]))["tasks"][0]["sealed"] == {"base": False, "cand": True}


def test_unfinished_runs_have_no_seal_and_resume_makes_one(tmp_path):
    made = task(30)
    with pytest.raises(Exception, match="boom"):
        run(Breaks(), made, out=tmp_path / "run")
    assert not read(tmp_path / "run").sealed
    finished = run(Breaks(at=99), made, out=tmp_path / "run", resume=True)
    assert finished.sealed and load(tmp_path / "run").doubts == []


class Breaks:
    """Answers a few samples and then ends the run."""

    name, looks = "breaks", False

    def __init__(self, at=5):
        self.at = at

    def describe(self):
        return {}

    def answer(self, samples, ask, decoding):
        from harness.types import Answer

        for i, sample in enumerate(samples):
            if i == self.at:
                raise RuntimeError("boom")
            yield i, Answer(gold(int(sample.id[1:])))


def test_a_run_that_was_edited_before_it_went_on_says_so_for_ever(tmp_path):
    out = tmp_path / "run"
    record(out, right_but(3), task(30))
    lines = (out / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (out / "rows.jsonl").write_bytes(b"".join(lines[:3] + lines[4:]))  # ask the wrong one again
    from gate_runs import Says

    run(Says(gold, "run"), task(30), out=out, resume=True)
    found = load(out)
    assert found.head["metrics"]["accuracy"]["value"] == 100
    assert "edited before the run went on" in found.doubts[0] and "rows.jsonl" in found.doubts[0]


def test_judging_seals_anew_and_refuses_rows_that_were_edited(tmp_path):
    made, folder = answered(tmp_path)
    before = read(folder).run["seal"]
    judged(folder, made, scripted(lambda sample, decoding: "8 6"))
    after = read(folder).run["seal"]
    assert after.keys() - before.keys() == {"verdicts.jsonl"} and load(folder).doubts == []
    verdicts = folder / "verdicts.jsonl"
    verdicts.write_text(verdicts.read_text().replace("8 6", "8  6"))
    with pytest.raises(DataError, match=r"verdicts\.jsonl: sha256"):
        judged(folder, made, scripted(lambda sample, decoding: "8 9", name="another"))
