"""Whatever stands in a log, reading it ends with rows or with one line that says what is wrong."""

import copy
import json
import random
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from import_data import FIXTURES

from harness.errors import SightlineError
from harness.importers import inspect as inspect_logs
from harness.importing import read_log, tools

ODD = (None, 0, -1, 1.5, True, "", "x", [], [[]], [None], {}, {"a": 1}, "\ud800", 10**400)


def mutated(value, draw):
    """Replace, drop or add something at a random place of a JSON value."""
    value = copy.deepcopy(value)
    at = value
    while isinstance(at, dict | list) and at:
        key = draw.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if draw.random() < 0.5 or not isinstance(at[key], dict | list) or not at[key]:
            if draw.random() < 0.3 and isinstance(at, dict):
                del at[key]
            else:
                at[key] = draw.choice(ODD)
            return value
        at = at[key]
    return value


def tried(path, tool):
    try:
        log = read_log(path, tool)
    except SightlineError as error:
        assert str(path.parent) in str(error)
    else:
        assert all(row.text is None or isinstance(row.text, str) for row in log.rows)
        assert all(isinstance(value, float) for value in log.aggregates.values())


LINES = [
    ("lmms-eval", next((FIXTURES / "lmms_eval/pope").glob("*.jsonl"))),
    ("lmms-eval", next((FIXTURES / "lmms_eval/llava_in_the_wild").glob("*.jsonl"))),
    ("lm-eval", next((FIXTURES / "lm_eval/scienceqa_cloze").glob("*.jsonl"))),
    ("lm-eval", next((FIXTURES / "lm_eval/scienceqa_letters").glob("*.jsonl"))),
]


@pytest.mark.parametrize(("tool", "source"), LINES, ids=lambda x: getattr(x, "stem", x))
@settings(deadline=None, max_examples=120)
@given(seed=st.integers(0, 2**32))
def test_sample_lines_and_results(tmp_path_factory, tool, source, seed):
    draw, folder = random.Random(seed), tmp_path_factory.mktemp("log")
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()][:4]
    rows[0] = mutated(rows[0], draw)
    path = folder / source.name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for beside in source.parent.glob("*results*.json"):
        told = mutated(json.loads(beside.read_text(encoding="utf-8")), draw)
        (folder / beside.name).write_text(json.dumps(told), encoding="utf-8")
    tried(path, tool)


@settings(deadline=None, max_examples=120)
@given(seed=st.integers(0, 2**32))
def test_inspect_members(tmp_path_factory, seed):
    source = FIXTURES / "inspect/scienceqa.eval"
    draw, path = random.Random(seed), tmp_path_factory.mktemp("log") / "a.eval"
    with zipfile.ZipFile(source) as archive, source.open("rb") as file:
        read = {
            info.filename: json.loads(inspect_logs._member(source, archive, file, info))
            for info in archive.infolist()
            if info.filename in ("header.json", "samples/11_epoch_1.json")
        }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in read.items():
            archive.writestr(name, json.dumps(mutated(content, draw)))
    tried(path, "inspect")


@pytest.mark.parametrize("tool", tools())
def test_a_log_read_as_anothers_is_refused_in_a_sentence(tool):
    for source in [path for _, path in LINES] + [FIXTURES / "inspect/scienceqa.eval"]:
        tried(source, tool)
    tried(FIXTURES / "questions/scienceqa/problems.json", tool)
    tried(FIXTURES / "questions/pope/coco_pope_random.json", tool)
