"""`sightline train` as processes of their own, and a kill in the middle of one."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def launch(words: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command in the checkout, with one thread and both outputs kept."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=env, **pipes)  # type: ignore[call-overload]


def kill_after_a_checkpoint(process: "subprocess.Popen[str]", out: Path) -> None:
    """Wait for the first whole checkpoint in `out` and kill the process with SIGKILL."""
    until = time.monotonic() + 240
    while not list(out.glob("checkpoint-*/progress.json")):
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
