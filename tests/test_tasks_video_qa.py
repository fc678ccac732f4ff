"""Video QA: the judge's dictionary is read and never run; four sets, frames as pictures."""

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged_runs import answered, judged, scripted
from made_video_qa import write

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Image
from judges.rubric import flat_dict, match


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{'pred': 'yes', 'score': 5}", (True, 5)),
        ('{"pred": "No", "score": 0}', (False, 0)),
        ("{'pred': 'yes', 'score': 4.8}", (True, 4)),  # cut, not rounded
        ("{'pred': 'yes', 'score': '3'}", (True, 3)),
        ("  {'score': 2, 'pred': 'no',}\n", (False, 2)),
        ("{'pred': 'Yes, no doubt', 'score': 4}", (True, 4)),  # yes is looked for first
        ("{'pred': 'maybe', 'score': 2}", (None, 2)),
        ("{'pred': 'yes', 'score': '4.8'}", None),
        ("{'pred': 'yes', 'score': 7}", None),
        ("{'pred': 'yes', 'score': -1}", None),
        ("{'pred': 'yes', 'score': 1e999}", None),
        ("{'pred': 'yes'}", None),
        ("{'pred': 1, 'score': 2}", None),
        ("{'pred': True, 'score': 2}", None),
        ("```{'pred': 'yes', 'score': 5}```", None),
        ("yes, 5", None),
        ("{}", None),
        ("", None),
        ("{'pred': 'yes', 'score': __import__('os').system('true')}", None),
        ("{'pred': 'yes', 'score': 5, 'x': [1]}", None),
        ("{" * 100_000, None),
        ("{'a':" * 50_000 + "1" + "}" * 50_000, None),
        ("{'pred': 'yes', 'score': " + "9" * 5000 + "}", None),
        ("{'pred': 'yes" + "\\'" * 4000 + "', 'score': 5}", (True, 5)),
    ],
)
def test_the_verdict_is_read_and_never_run(text, found):
    assert match(text) == found


PLAIN = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\")


@given(
    st.dictionaries(
        st.text(PLAIN, max_size=8),
        st.one_of(
            st.text(PLAIN, max_size=20),
            st.integers(-(10**6), 10**6),
            st.floats(-1e6, 1e6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_dictionary_as_python_writes_it_is_read_as_python_reads_it(value):
    assert flat_dict(repr(value)) == ast.literal_eval(repr(value))


@given(st.text(max_size=200))
def test_no_words_raise(text):
    for words in (text, "{" + text + "}"):
        found = match(words)
        assert found is None or (found[0] in (True, False, None) and 0 <= found[1] <= 5)


def test_accuracy_leaves_undecided_verdicts_out_and_the_score_does_not(tmp_path):
    data = write(tmp_path / "sets")[""]
    task, folder = answered(tmp_path, "video_qa", data)
    words = [
        "{'pred': 'yes', 'score': 5}",
        "{'pred': 'no', 'score': 1}",
        "{'pred': '?', 'score': 3}",
    ]
    order = [sample.id for sample in task.samples()]
    record = judged(folder, task, scripted(lambda s, d: words[order.index(s.id) % 3]))
    assert record.metrics["accuracy"]["value"] == pytest.approx(100 * 4 / 7)
    assert record.metrics["accuracy"]["n"] == 7 and record.counts["scored"] == 10
    assert record.metrics["score"]["value"] == pytest.approx((4 * 5 + 3 * 1 + 3 * 3) / 10)
    assert record.metrics["type.1"]["value"] == 0.0 and record.metrics["type.2"]["value"] is None


def test_the_judge_reads_question_gold_answer_and_answer(tmp_path):
    task = make_task("video_qa", str(write(tmp_path)[""]))
    sample = next(iter(task.samples()))
    asked = task.judge.prompt(sample, "{answer} {'pred': 'yes'}", False, 0)
    assert asked.prompt[0].startswith(
        "Please evaluate the following video-based question-answer pair:\n\n"
        "Question: what is seen 0\nCorrect Answer: dog\nPredicted Answer: {answer} {'pred': 'yes'}"
        "\n\nProvide your evaluation only as a yes/no and score"
    )
    assert asked.prompt[0].endswith("should look like this: {'pred': 'yes', 'score': 4.8}.")
    assert asked.system.endswith(
        "- Evaluate the correctness of the prediction compared to the answer."
    )
    assert {d.temperature for d in task.judge.decodings} == {1.0}


@pytest.mark.parametrize(
    ("variant", "split", "id", "video"),
    [
        ("activitynet", "test", "v_a_1", "a"),
        ("msvd", "val", "100", "vid1"),
        ("msrvtt", "val", "100", "video1"),
        ("tgif", "test", "1", "tumblr_1"),
    ],
)
def test_each_set_reads_its_layout_and_shows_its_frames(tmp_path, variant, split, id, video):
    places = write(tmp_path)
    task = make_task(f"video_qa/{variant}", str(places.get(variant, places[""])))
    first = next(iter(task.samples()))
    assert task.source.split == split and "not comparable" in task.notes[1]
    assert (first.id, first.cluster, first.target) == (id, video, "dog")
    frames = [part for part in first.prompt if isinstance(part, Image)]
    assert [frame.name for frame in frames] == [f"{video}/000.jpg", f"{video}/001.jpg"]
    assert isinstance(first.prompt[-1], str) and frames[0].read()[:2] == b"\xff\xd8"


def test_without_frames_recorded_answers_can_be_judged_but_no_model_can_look(tmp_path):
    import shutil

    data = write(tmp_path / "sets")[""]
    shutil.rmtree(data / "frames")
    task, folder = answered(tmp_path, "video_qa", data)
    record = judged(folder, task, scripted(lambda s, d: "{'pred': 'no', 'score': 0}"))
    assert record.metrics["accuracy"]["value"] == 0.0
    (image, _) = next(iter(task.samples())).prompt
    with pytest.raises(DataError, match="holds no images"):
        image.read()


def test_video_chatgpts_answers_join_by_either_of_its_ids(tmp_path):
    data = write(tmp_path / "sets")[""]
    task = make_task("video_qa", str(data))
    for name in ("id", "video_name"):
        rows = [
            {name: s.id if name == "id" else s.aliases[0], "Q": s.facts["question"], "pred": "dog"}
            for s in task.samples()
        ]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(rows), encoding="utf-8")
        options = {"id_field": name, "answer_field": "pred"}
        record = run(f"recorded:{file}", task, out=tmp_path / name, options=options)
        assert record.counts["unjudged"] == 10


def test_wrong_files_are_named(tmp_path):
    data = write(tmp_path)[""]
    with pytest.raises(DataError, match=r"no questions of MSVD-QA. Expected val_q.json and val_a"):
        make_task("video_qa/msvd", str(data))
    rows = json.loads((data / "test_a.json").read_text(encoding="utf-8"))
    (data / "test_a.json").write_text(json.dumps(rows[1:]), encoding="utf-8")
    with pytest.raises(DataError, match="no answer to the question 'v_a_1'"):
        make_task("video_qa", str(data))
    bad = json.loads((data / "test_q.json").read_text(encoding="utf-8"))
    bad[0]["video_name"] = "../../etc"
    (data / "test_a.json").write_text(json.dumps(rows), encoding="utf-8")
    (data / "test_q.json").write_text(json.dumps(bad), encoding="utf-8")
    with pytest.raises(DataError, match="leads out of the data folder"):
        list(make_task("video_qa", str(data)).samples())
