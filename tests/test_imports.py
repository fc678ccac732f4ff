"""Importing defines names and nothing else; the layers hold; types and style are clean."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCALIZED = (
    *("blip2", "critic", "generative", "items", "losses"),
    *("score", "stage1", "student", "views"),
)
ENGINES = (  # imported once there is work for torch
    "harness.engine.",
    "trainers.engine.",
    "trainers.contrastive.",
    *(f"trainers.localized.{name}" for name in LOCALIZED),
)
FOLDERS = ("harness", "tasks", "judges", "reports", "leaderboards", "trainers")
HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "pyarrow",
    "openai",
    "datasets",
    "PIL",
    "scipy",
    "numpy",
)


def modules(*, engine: bool) -> list[str]:
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if name.endswith("__main__") or (not engine and name.startswith(ENGINES)):
                continue
            found.append(name.removesuffix(".__init__"))
    return found


def test_no_module_outside_the_engine_imports_anything_heavy():
    code = (
        f"import sys, json, importlib\n"
        f"for name in {modules(engine=False)!r}: importlib.import_module(name)\n"
        f"print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [] and done.stderr == ""


def test_the_command_line_starts_without_what_it_does_not_need():
    code = (
        "import sys; sys.argv = ['sightline', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split("LOADED")[1].split())
    assert not loaded & {*HEAVY, "tasks.pope", "harness.run", "harness.stats", "asyncio"}


def test_another_package_of_our_name_is_refused(tmp_path):
    stranger = tmp_path / "judges"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import harness"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode and "'judges' was found at" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=lambda words: words[0] + "-".join(words[1:2]),
)
def test_style_types_and_layers(command):
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed; `make test` installs it"
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_says_what_it_is_for_and_stays_small():
    for folder in (*FOLDERS, "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            assert text.startswith(('"""', "#!")), f"{path} has no docstring"
            assert text.count("\n") <= 600, f"{path} is too long to read in one sitting"
