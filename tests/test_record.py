"""The run folder under faults: kill -9, full disk, damaged files, two writers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_data import write_pope

from harness.api import run
from harness.errors import DataError, UsageError
from harness.record import read, read_rows

ROOT = Path(__file__).resolve().parent.parent

SLOW = """
import sys, time
from harness.types import Answer
from harness import api, run as loop

class Slow:
    name = "slow"
    looks = False
    def describe(self):
        return {"kind": "slow"}
    def answer(self, samples, ask, decoding):
        for i, sample in enumerate(samples):
            time.sleep(float(sys.argv[3]))
            yield i, Answer("yes" if hash_of(sample.id) % 2 else "no")

def hash_of(text):
    return sum(map(ord, text))

api.run(Slow(), "pope", data=sys.argv[1], out=sys.argv[2], resume="--resume" in sys.argv)
"""


def command(data: Path, out: Path, delay: float, *more: str) -> list[str]:
    return [sys.executable, "-c", SLOW, str(data), str(out), str(delay), *more]


def start(data: Path, out: Path, delay: float, *more: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command(data, out, delay, *more), cwd=ROOT)


def complete(data: Path, out: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    words = command(data, out, 0, *more)
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)


def told(rows) -> dict[str, tuple]:
    return {
        r["id"]: (r["index"], r["status"], r["score"], r["answer"]["text"], r["item"]) for r in rows
    }


def wait_for_rows(out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = out / "rows.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{count} rows never came")


def test_kill_9_then_resume_is_an_unbroken_run(tmp_path):
    data = write_pope(tmp_path / "pope", images=4, pictures=False)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert complete(data, whole).returncode == 0
    for rows in (10, 35):
        process = start(data, broken, 0.02, "--resume")
        wait_for_rows(broken, rows)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read(broken).run["status"] == "running"
    with (broken / "rows.jsonl").open("ab") as file:  # killed in the middle of a write
        file.write(b'{"index":70,"id":"2000')
    before = told(read_rows(broken))
    assert 35 <= len(before) < 72
    finished = complete(data, broken, "--resume")
    assert finished.returncode == 0, finished.stderr
    rows = list(read_rows(broken))
    assert len(rows) == len({row["id"] for row in rows}) == 72
    assert told(rows) == told(read_rows(whole))
    assert before.items() <= told(rows).items()
    assert read(broken).metrics == read(whole).metrics
    assert read(broken).run["status"] == "complete" and read(broken).run["resumed"]


def test_failed_samples_are_asked_again_on_resume_and_done_ones_are_not(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    asked: list[str] = []

    class Flaky:
        name, looks = "flaky", False
        broken = True

        def describe(self):
            return {}

        def answer(self, samples, ask, decoding):
            from harness.types import Answer, Failure

            for i, sample in enumerate(samples):
                asked.append(sample.id)
                bad = self.broken and sample.id.endswith("7")
                yield i, Failure("no luck") if bad else Answer("yes")

    model = Flaky()
    first = run(model, "pope", data=data, out=tmp_path / "run", max_failures=0.5)
    assert first.counts["failed"] == 6 and first.run["status"] == "incomplete"
    asked.clear()
    model.broken = False
    second = run(model, "pope", data=data, out=tmp_path / "run", resume=True)
    assert len(asked) == 6 and all(i.endswith("7") for i in asked)
    assert second.counts == {**dict.fromkeys(first.counts, 0), "total": 72, "scored": 72}
    assert len(list(second.rows())) == 72


@pytest.mark.skipif(sys.platform != "linux", reason="limits the file size by a Linux call")
def test_full_disk_keeps_the_rows_and_resume_finishes(tmp_path):
    data = write_pope(tmp_path / "pope", images=40, pictures=False)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, resource.RLIM_INFINITY));"
        "from harness.cli import main; main()"
    )
    words = ["run", "-m", "constant", "-t", "pope", "-d", str(data), "--out", str(tmp_path / "run")]
    full = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert full.returncode == 1, full.stderr
    assert "the disk takes no more rows" in full.stderr and "--resume" in full.stderr
    assert "Traceback" not in full.stderr
    kept = list(read_rows(tmp_path / "run"))
    assert kept and (tmp_path / "run" / "rows.jsonl").read_bytes().endswith(b"\n")
    done = run("constant", "pope", data=data, out=tmp_path / "run", resume=True)
    rows = list(done.rows())
    assert rows[: len(kept)] == kept and len({r["id"] for r in rows}) == len(rows) == 720


def test_a_really_full_file_system(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        data = write_pope(tmp_path / "pope", images=60, pictures=False)
        words = ["-m", "harness", "run", "-m", "constant", "-t", "pope", "-d", str(data)]
        full = subprocess.run(
            [sys.executable, *words, "--out", str(disk / "run")],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert (
            full.returncode == 1 and "make room" in full.stderr and "Traceback" not in full.stderr
        )
        assert len(list(read_rows(disk / "run"))) > 100
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_resume_refuses_another_run(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    run("constant:yes", "pope", data=data, out=tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        run("constant:yes", "pope", data=data, out=tmp_path / "run")
    for model, task, limit in (
        ("constant:no", "pope", None),
        ("constant:yes", "pope/lmms", None),
        ("constant:yes", "pope", 5),
    ):
        with pytest.raises(UsageError, match="holds another run"):
            run(model, task, data=data, out=tmp_path / "run", limit=limit, resume=True)
    (data / "coco_pope_random.json").write_text(
        (data / "coco_pope_random.json").read_text().replace("Is there", "Do you see", 1)
    )
    with pytest.raises(UsageError, match="data fingerprint"):
        run("constant:yes", "pope", data=data, out=tmp_path / "run", resume=True)


def test_only_one_process_writes(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    first = start(data, tmp_path / "run", 0.05)
    try:
        wait_for_rows(tmp_path / "run", 2)
        second = complete(data, tmp_path / "run", "--resume")
        assert second.returncode != 0
        assert "another process is writing this run" in second.stderr
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{broken}\n", "line 3: damaged row"),
        (b'{"no": "id"}\n', "line 3: damaged row"),
        (None, "was written twice"),
    ],
)
def test_damaged_rows_are_named(tmp_path, line, says):
    data = write_pope(tmp_path / "pope", pictures=False)
    run("constant:yes", "pope", data=data, out=tmp_path / "run", limit=6)
    path = tmp_path / "run" / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = line or lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=says):
        run("constant:yes", "pope", data=data, out=tmp_path / "run", limit=6, resume=True)


def test_run_json_of_another_schema_or_no_run_at_all(tmp_path):
    with pytest.raises(DataError, match="not a run folder"):
        read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(DataError, match="schema 99"):
        read(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_parquet_has_the_rows_in_the_tasks_order(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    record = run("random", "pope", data=data, out=tmp_path / "run")
    frame = record.frame()
    assert list(frame["index"]) == list(range(72))
    assert set(frame["group_split"]) == {"random", "popular", "adversarial"}
    by_id = {row["id"]: row for row in record.rows()}
    assert all(by_id[i]["score"] == s for i, s in zip(frame["id"], frame["score"], strict=True))
