"""Logs of lm-eval, Inspect and VLMEvalKit: the first two wrote their fixtures themselves.

VLMEvalKit is not in the package index; its tables are written here in its documented layout.
"""

import json
import sys
import zipfile

import pytest
from import_data import (
    FIXTURES,
    QUESTIONS,
    pope_questions,
    write_lines,
    write_table,
    write_vlmeval_pope,
)
from shared_data import shared

from harness.errors import DataError, MissingExtra
from harness.importers import inspect as inspect_logs
from harness.importing import import_log, read_log

SCHOOL = QUESTIONS / "scienceqa"
INSPECT = FIXTURES / "inspect" / "scienceqa.eval"


def by_status(result):
    found = {}
    for row in result.record.rows():
        found.setdefault(row["status"], []).append(row)
    return found


class TestLmEval:
    def test_answers_in_words_keep_the_tools_extraction(self, tmp_path):
        log = FIXTURES / "lm_eval" / "scienceqa_letters"
        result = import_log(log, tmp_path / "raw", task="scienceqa", data=SCHOOL)
        assert (result.log.tool, result.log.version) == ("lm-eval", "0.4.13")
        (number,) = result.aggregates
        assert number.name == "exact_match (first-letter)" and number.there == 75
        assert number.here == result.record.metrics["accuracy"]["value"] == pytest.approx(700 / 12)
        moved = [one for one in result.differences if one.kind != "same"]
        assert {one.kind for one in moved} == {"extraction"} and len(moved) == 2
        assert all(one.there == 1 and one.here == 0 for one in moved)
        taken = import_log(
            log, tmp_path / "taken", task="scienceqa", data=SCHOOL, answers="extracted"
        )
        assert taken.record.metrics["accuracy"]["value"] == 75
        assert {one.kind for one in taken.differences} == {"same"}

    def test_likelihoods_rank_the_choices(self, tmp_path):
        log = FIXTURES / "lm_eval" / "scienceqa_cloze"
        result = import_log(log, tmp_path / "run", task="scienceqa/text-rank", data=SCHOOL)
        assert result.record.run["task"]["ask"] == "rank"
        assert {one.kind for one in result.differences} == {"same"}
        first = next(row for row in result.record.rows() if row["id"] == "11")
        assert first["answer"]["scores"] == [-3.5, -5.0, -5.5] and first["answer"]["choice"] == 0
        assert result.aggregates[0].here == pytest.approx(result.aggregates[0].there)

    def test_scores_follow_their_options_and_not_their_places(self, tmp_path):
        source = next((FIXTURES / "lm_eval" / "scienceqa_cloze").glob("samples_*"))
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            asked = list(row["arguments"].values())[::-1]
            row["arguments"] = {f"gen_args_{i}": one for i, one in enumerate(asked)}
            row["resps"], row["target"] = (
                row["resps"][::-1],
                str(len(asked) - 1 - int(row["target"])),
            )
        write_lines(tmp_path / source.name, rows)
        turned = import_log(
            tmp_path / source.name, tmp_path / "b", task="scienceqa/text-rank", data=SCHOOL
        )
        straight = import_log(source, tmp_path / "a", task="scienceqa/text-rank", data=SCHOOL)
        assert turned.record.metrics == straight.record.metrics

    def test_other_options_are_refused(self, tmp_path):
        source = next((FIXTURES / "lm_eval" / "scienceqa_cloze").glob("samples_*"))
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        rows[2]["arguments"]["gen_args_0"]["arg_1"] = " chair"
        write_lines(tmp_path / source.name, rows)
        with pytest.raises(DataError, match=r"line 3 ranks .*chair.*sample '25'"):
            import_log(tmp_path / source.name, tmp_path / "b", task="scienceqa/rank", data=SCHOOL)

    def test_two_filters_are_one_answer_per_sample(self, tmp_path):
        source = next((FIXTURES / "lm_eval" / "scienceqa_letters").glob("samples_*"))
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        again = [row | {"filter": "second", "exact_match": 0.0} for row in rows]
        write_lines(tmp_path / source.name, [*rows, *again])
        log = read_log(tmp_path / source.name)
        assert len(log.rows) == 12 and any("first-letter, second" in note for note in log.notes)


class TestInspect:
    def test_the_tools_own_log_is_read(self, tmp_path):
        result = import_log(INSPECT, tmp_path / "run", task="scienceqa", data=SCHOOL)
        assert result.log.version == "0.3.285" and result.log.model == "mockllm/model"
        rows = {row["id"]: row for row in result.record.rows()}
        assert rows["39"]["status"] == "failed" and "the service is down" in rows["39"]["error"]
        assert rows["88"]["answer"]["stop"] == "length" and rows["11"]["answer"]["stop"] == "end"
        assert rows["11"]["answer"]["tokens_in"] == 40
        (number,) = result.aggregates
        assert number.there == pytest.approx(100 * 5 / 11)
        assert any("11 of 12 samples" in note for note in result.notes)
        kinds = {one.id: one.kind for one in result.differences}
        assert kinds["39"] == "failed" and kinds["11"] == kinds["18"] == "extraction"

    def test_extracted_letters_give_the_tools_own_number(self, tmp_path):
        result = import_log(
            INSPECT, tmp_path / "run", task="scienceqa", data=SCHOOL, answers="extracted"
        )
        assert result.record.metrics["accuracy"]["value"] == pytest.approx(100 * 5 / 11)
        assert {one.kind for one in result.differences} == {"same", "failed"}
        assert result.record.run["model"]["description"]["answers"] == "extracted"

    def test_other_prompts_are_a_difference_that_comparing_shows(self, tmp_path):
        result = import_log(INSPECT, tmp_path / "run", task="scienceqa", data=SCHOOL)
        told = result.record.run["model"]["description"]["preprocessing"]
        assert told == {"prompt": "inspect's"}

    def unpacked(self):
        with zipfile.ZipFile(INSPECT) as archive, INSPECT.open("rb") as file:
            return {
                info.filename: inspect_logs._member(INSPECT, archive, file, info)
                for info in archive.infolist()
            }

    def packed(self, path, members):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    def test_deflate_and_zstd_hold_the_same(self, tmp_path):
        again = self.packed(tmp_path / "deflated.eval", self.unpacked())
        assert [row.text for row in read_log(again).rows] == [
            r.text for r in read_log(INSPECT).rows
        ]

    def test_a_killed_run_has_no_header(self, tmp_path):
        members = self.unpacked()
        kept = {
            name: content
            for name, content in members.items()
            if name.startswith("_journal") or name in ("samples/11_epoch_1.json",)
        }
        path = self.packed(tmp_path / "killed.eval", kept)
        result = import_log(path, tmp_path / "run", task="scienceqa", data=SCHOOL)
        assert result.record.counts["missing"] == 11
        told = " ".join(result.notes)
        assert "killed before it wrote its header" in told and "12 samples, it holds 1" in told

    def test_damage_and_bombs_are_refused(self, tmp_path):
        raw = bytearray(INSPECT.read_bytes())
        with zipfile.ZipFile(INSPECT) as archive:
            place = archive.getinfo("samples/18_epoch_1.json").header_offset + 200
        raw[place : place + 8] = b"\0" * 8
        broken = tmp_path / "broken.eval"
        broken.write_bytes(raw)
        with pytest.raises(DataError, match=r"18_epoch_1\.json is damaged"):
            read_log(broken)
        cut = tmp_path / "cut.eval"
        cut.write_bytes(INSPECT.read_bytes()[:4000])
        with pytest.raises(DataError, match="not a whole zip file"):
            read_log(cut, "inspect")
        large = zipfile.ZipInfo("samples/1_epoch_1.json")
        large.file_size = 1 << 40
        with zipfile.ZipFile(INSPECT) as archive, pytest.raises(DataError, match="claims"):
            inspect_logs._member(INSPECT, archive, None, large)

    def test_options_in_another_order_are_another_question(self, tmp_path):
        members = self.unpacked()
        sample = json.loads(members["samples/11_epoch_1.json"])
        sample["choices"] = sample["choices"][::-1]
        members["samples/11_epoch_1.json"] = json.dumps(sample).encode()
        path = self.packed(tmp_path / "shuffled.eval", members)
        with pytest.raises(DataError, match="another question"):
            import_log(path, tmp_path / "run", task="scienceqa", data=SCHOOL)

    def test_json_logs_and_messages_in_parts(self, tmp_path):
        members = self.unpacked()
        samples = [json.loads(v) for k, v in members.items() if k.startswith("samples/")]
        words = samples[0]["input"]
        samples[0]["attachments"] = {"abc": words}
        samples[0]["input"] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "attachment://abc"}]},
        ]
        whole = json.loads(members["header.json"]) | {"samples": samples}
        path = tmp_path / "log.json"
        path.write_text(json.dumps(whole), encoding="utf-8")
        log = read_log(path)
        assert log.tool == "inspect" and log.rows[0].question == words and len(log.rows) == 12


class TestVlmEvalKit:
    SAID = ("Yes", "No", "Yes, there is.", "It is not.", "", "Failed to obtain answer via API.")

    def questions(self):
        splits = pope_questions(QUESTIONS / "pope")
        return [q | {"category": split} for split, asked in splits.items() for q in asked]

    @pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".csv"])
    def test_tables_and_their_scores(self, tmp_path, ending):
        asked = self.questions()
        said = [self.SAID[i % len(self.SAID)] for i in range(len(asked))]
        write_vlmeval_pope(tmp_path / "out", asked, said, ending)
        result = import_log(tmp_path / "out", tmp_path / "run", data=QUESTIONS / "pope")
        assert result.log.tool == "vlmevalkit" and result.log.model == "made-1"
        assert result.record.run["task"]["name"] == "pope"
        assert f"made-1_POPE_auxmatch{ending}" in result.log.files
        found = by_status(result)
        assert len(found["failed"]) == len(found["missing"]) == 6
        accuracy = next(one for one in result.aggregates if one.name == "Overall.acc")
        assert (
            accuracy.there
            < accuracy.here
            == pytest.approx(result.record.metrics["mean.accuracy"]["value"])
        )
        ruled = {one.said.partition(";")[0] for one in result.differences if one.kind == "rule"}
        assert ruled == {"'It is not.'"}
        assert any("6 cells are empty" in note for note in result.notes)

    def test_a_question_of_several_splits_answers_all_of_them(self, tmp_path):
        data = tmp_path / "pope"
        data.mkdir()
        shown = [f"scene_{i}.jpg" for i in range(3)]
        merged = {}
        for split, absent in (("random", "fox"), ("popular", "car"), ("adversarial", "cup")):
            rows = []
            for image in shown:
                for thing, label in (("dog", "yes"), (absent, "no")):
                    text = f"Is there a {thing} in the image?"
                    rows.append(
                        {"question_id": len(rows) + 1, "image": image, "text": text, "label": label}
                    )
                    merged.setdefault((image, text), rows[-1] | {"category": []})
                    merged[image, text]["category"].append(split)
            write_lines(data / f"coco_pope_{split}.json", rows)
        asked = [row | {"category": ",".join(row["category"])} for row in merged.values()]
        assert len(asked) == 12
        write_vlmeval_pope(tmp_path / "out", asked, ["Yes"] * 12, ".tsv")
        result = import_log(tmp_path / "out", tmp_path / "run", data=data)
        counts = result.record.counts
        assert (counts["scored"], counts["missing"]) == (18, 0)
        assert any("12 rows answer 18 samples" in note for note in result.notes)

    def test_the_published_split_at_its_real_size(self, tmp_path):
        """Each image and question once, as the tool's own table has them: 5,127 of 9,000."""
        data = shared("pope") / "coco_HEAD"
        splits = pope_questions(data)
        merged = {}
        for split in ("adversarial", "popular", "random"):
            for row in splits[split]:
                one = merged.setdefault((row["image"], row["text"]), row | {"category": []})
                one["category"].append(split)
        asked = [row | {"category": ",".join(row["category"])} for row in merged.values()]
        said = [row["label"] for row in asked]
        write_vlmeval_pope(tmp_path / "out", asked, said, ".tsv")
        result = import_log(tmp_path / "out", tmp_path / "run", data=data)
        assert result.record.counts["scored"] == 9000
        assert result.record.metrics["mean.f1"]["value"] == 100

    def test_letters_with_a_result_table(self, tmp_path):
        problems = json.loads((SCHOOL / "problems.json").read_text(encoding="utf-8"))
        rows = []
        for at, (id, problem) in enumerate(problems.items()):
            options = dict(zip("ABCD", [*problem["choices"], "", "", ""], strict=False))
            gold = "ABCD"[problem["answer"]]
            rows.append(
                {"index": at, "id": id, "question": problem["question"], **options, "answer": gold,
                 "prediction": f"({gold})"}
            )  # fmt: skip
        write_table(tmp_path / "m_v1_ScienceQA_TEST.tsv", rows)
        scored = [row | {"hit": 1, "log": "matched"} for row in rows]
        write_table(tmp_path / "m_v1_ScienceQA_TEST_exact_matching_result.tsv", scored)
        write_table(tmp_path / "m_v1_ScienceQA_TEST_acc.csv", [{"split": "none", "Overall": 1.0}])
        result = import_log(tmp_path, tmp_path / "run", task="scienceqa", data=SCHOOL)
        assert result.log.model == "m_v1" and result.log.task == "ScienceQA_TEST"
        (number,) = result.aggregates
        assert (number.there, number.here) == (100, 0)
        assert {one.kind for one in result.differences} == {"unknown"}

    def test_answers_cut_by_a_cell_are_told(self, tmp_path):
        asked = self.questions()
        said = ["no" + " " * 32_765, *["yes"] * (len(asked) - 1)]
        path = write_vlmeval_pope(tmp_path, asked, said, ".csv")
        assert any("1 answers are as long as a cell" in note for note in read_log(path).notes)

    def test_xlsx_without_openpyxl_says_what_to_install(self, tmp_path, monkeypatch):
        asked = self.questions()
        path = write_vlmeval_pope(tmp_path, asked, ["yes"] * len(asked), ".xlsx")
        for name in [name for name in sys.modules if name.partition(".")[0] == "openpyxl"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        with pytest.raises(MissingExtra, match=r"openpyxl.*\.\[import\].*tsv"):
            read_log(path)

    def test_a_damaged_table_is_refused(self, tmp_path):
        path = tmp_path / "m_POPE.tsv"
        path.write_text("index\tprediction\n1\tyes\n2\n", encoding="utf-8")
        with pytest.raises(DataError, match="row 3: 1 columns, the header has 2"):
            read_log(path, "vlmevalkit")
        (tmp_path / "m_POPE.xlsx").write_bytes(b"no sheet")
        with pytest.raises(DataError, match="cannot be read as xlsx"):
            read_log(tmp_path / "m_POPE.xlsx", "vlmevalkit")

    def test_models_named_like_judges_are_models(self, tmp_path):
        asked = self.questions()
        path = write_vlmeval_pope(tmp_path, asked, ["yes"] * len(asked), ".tsv")
        named = path.rename(tmp_path / "gpt-4o_mini_POPE.tsv")
        log = read_log(named)
        assert (log.model, log.task) == ("gpt-4o_mini", "POPE")
        assert any("no score file" in note for note in log.notes)
