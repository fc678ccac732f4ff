"""Video QA: short open answers about videos, judged by a model as Video-ChatGPT judges them.

ActivityNet-QA (test), MSVD-QA and MSRVTT-QA (validation), TGIF-QA FrameQA (test). Maaz et al. 2023
(arXiv 2306.05424), github mbzuai-oryx/Video-ChatGPT, `evaluate_activitynet_qa.py`: a judge compares
the answer with the gold one and writes a dictionary, whether they match and a score from 0 to 5.
Printed are the share of matches and the mean score; LocVLM (arXiv 2404.07449) reports the share.

    sightline run --task video_qa/msvd --model recorded:answers.json -o answer_field=pred \
        --data FOLDER --judge openai:gpt-3.5-turbo

Numbers move by 8 to 10 points with the version of the judge: name a pinned one and keep it. Frames
are pictures in frames/<video>/ (tasks/_video_qa_files.py); without them recorded answers only.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.types import Decoding, Metric, Rubric, Sample, Source, Task, Verdict
from judges.rubric import fill, match, prompt_file, wait
from tasks._data import data_folder, file_sha256, unique
from tasks._video_qa_files import SETS, Asked, Set, frame_finder, read

VARIANTS = {
    "activitynet": "ActivityNet-QA, test; the same as 'video_qa'",
    "msvd": "MSVD-QA, validation",
    "msrvtt": "MSRVTT-QA, validation",
    "tgif": "TGIF-QA, FrameQA, test",
}
JUDGE = "openai:gpt-3.5-turbo"
ATTEMPTS = 5
"""The script asks until every verdict can be read; this is where we stop."""


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on one of the four sets. Raises DataError for other files."""
    of = SETS[variant or "activitynet"]
    root = data_folder(data, "video_qa")
    rows, files = read(root, of)
    unique((row.id for row in rows), str(files[0]))
    samples = list(_samples(root, rows))
    return Task(
        name=f"video_qa/{variant}" if variant else "video_qa",
        version="1",
        source=Source(str(root), of.title, of.split, files={f.name: file_sha256(f) for f in files}),
        samples=lambda: samples,
        score=wait,
        scorer="video_qa/video-chatgpt@1",
        metrics=(
            Metric("accuracy", options={"value": "match"}),
            Metric("score", options={"value": "points"}, percent=False),
            Metric("type", by="type", options={"value": "match"}),
        ),
        headline="accuracy",
        decoding=Decoding(max_tokens=1024),
        notes=tuple(_notes(root, of, len(rows))),
        judge=_rubric(),
    )


def _samples(root: Path, rows: Sequence[Asked]) -> Iterator[Sample]:
    """Yield the samples; the evaluator's own ids, <video>_<count>, are aliases."""
    frames = frame_finder(root)
    aliases = _evaluator_ids(rows)
    for row, alias in zip(rows, aliases, strict=True):
        yield Sample(
            id=row.id,
            prompt=(*frames(row.video), row.question),
            target=row.answer,
            cluster=row.video,
            groups={} if row.kind is None else {"type": row.kind},
            facts={"question": row.question},
            aliases=alias,
        )


def _evaluator_ids(rows: Sequence[Asked]) -> list[tuple[str, ...]]:
    """Return the ids that the evaluator gives; none where one would be a question's own id."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        found.append(f"{row.video}_{seen[row.video]}")
        seen[row.video] += 1
    if {row.id for row in rows}.intersection(found):
        return [()] * len(found)
    return [(name,) for name in found]


def _notes(root: Path, of: Set, found: int) -> Iterator[str]:
    yield (
        f"published numbers are of {JUDGE} in the version of their day; scores of different judges "
        "are different metrics"
    )
    if found != of.questions:
        yield (
            f"{found:,} questions, the {of.split} split of {of.title} has {of.questions:,}: not "
            "comparable with published numbers"
        )
    if not (root / "frames").is_dir():
        yield "no folder 'frames': recorded answers only"


def _rubric() -> Rubric:
    system, system_hash = prompt_file("video_qa_system.txt")
    user, user_hash = prompt_file("video_qa_user.txt")
    return Rubric(
        name="video_qa/video-chatgpt",
        version="1",
        prompt=partial(_ask, system, user),
        read=_read,
        decodings=(Decoding(max_tokens=256, temperature=1.0),) * ATTEMPTS,
        model=JUDGE,
        files={"video_qa_system.txt": system_hash, "video_qa_user.txt": user_hash},
    )


def _ask(
    system: str, user: str, sample: Sample, answer: str, swapped: bool, attempt: int
) -> Sample:
    """Write what the judge reads: question, gold answer, answer."""
    said = "yes" if answer == sample.target else "no"
    text = fill(user, question=sample.facts["question"], answer=sample.target, prediction=answer)
    return Sample(
        id=sample.id,
        prompt=(text,),
        target=f"{{'pred': '{said}', 'score': {5 if said == 'yes' else 0}}}",
        aliases=sample.aliases,
        system=system,
    )


def _read(text: str, swapped: bool) -> Verdict | None:
    """Take the match for the row's score; an undecided one has points and no score."""
    found = match(text)
    if found is None:
        return None
    same, points = found
    if same is None:
        return Verdict(None, "undecided", {"points": float(points)})
    stats = {"match": float(same), "points": float(points)}
    return Verdict(float(same), "yes" if same else "no", stats)
