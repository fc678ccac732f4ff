"""Requests per second of the `openai:` model against a local server with a fixed latency.

    python benchmarks/openai_throughput.py [--images 200] [--latency 0.05]

The server (tests/fake_openai_server.py) runs in a process of its own on the same machine and
answers "yes" after the latency, so the figures show what the client can send, not what a model can
answer. Each image is different, of about 100 kB; nothing is kept between rows except the import.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from harness.models.openai import make
from harness.types import Answer, Decoding, Image, Sample

SERVER = Path(__file__).resolve().parent.parent / "tests" / "fake_openai_server.py"
IMAGE_BYTES = 100_000


def main() -> None:
    """Print the machine and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    options = parser.parse_args()
    cpu = platform.processor() or platform.machine()
    print(f"{os.cpu_count()} x {cpu}, Python {platform.python_version()}, ", end="")
    print(
        f"openai {version('openai')}, {options.images} images of {IMAGE_BYTES // 1000} kB, ", end=""
    )
    print(f"latency {options.latency * 1000:g} ms")
    print("| requests at once | requests/s | client CPU ms/request | most at once |")
    print("|---|---|---|---|")
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--latency", str(options.latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        _row("default, first (imports the client)", url, 0, options.images)
        _row("default", url, 0, options.images)
        _row("default, ten times the images", url, 0, 10 * options.images)
        for fixed in (1, 8, 32, 128):
            _row(str(fixed), url, fixed, options.images)
    finally:
        server.terminate()
        server.communicate()


def _row(label: str, url: str, concurrency: int, n: int) -> None:
    noise = random.Random(0)
    head = b"\xff\xd8\xff"
    images = [Image(str(i), head + noise.randbytes(IMAGE_BYTES)) for i in range(n)]
    samples = [Sample(str(i), (image, "Is it?")) for i, image in enumerate(images)]
    model = make("fake", base_url=url, concurrency=concurrency)
    wall, cpu = time.perf_counter(), time.process_time()
    replies = list(model.answer(samples, "generate", Decoding()))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    good = sum(isinstance(answer, Answer) for _, answer in replies)
    if good != n:
        raise SystemExit(f"only {good} of {n} were answered; this figure would mean nothing")
    rate, spent = n / wall, cpu / n * 1000
    print(f"| {label} | {rate:.0f} | {spent:.1f} | {model.most_at_once} |", flush=True)


if __name__ == "__main__":
    main()
