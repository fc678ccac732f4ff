"""Where a run happened: packages, machine, accelerator, git state, command line."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "sightline", "torch", "transformers", "accelerate", "peft", "numpy", "pandas", "pillow",
    "pyarrow", "openai", "datasets", "scipy", "scikit-learn", "pycocoevalcap", "tokenizers",
    "safetensors",
)  # fmt: skip
_SECRET = re.compile(r"(?i)((?:key|token|secret|password)[^=:\s]*[=:])\S+|\b(sk-|hf_)[\w-]{8,}")


def capture() -> dict[str, Any]:
    """Return what a reader needs to reproduce a run. Never fails: what is unknown is None."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "accelerators": _accelerators(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "git": _git(Path(__file__).resolve().parent),
        "command": [redact(word) for word in sys.argv],
    }


def redact(text: str) -> str:
    """Replace what looks like a key, token or password."""
    return _SECRET.sub(lambda found: (found[1] or found[2] or "") + "[redacted]", text)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else platform.processor() or None


def _accelerators() -> list[str]:
    """Name the GPUs, if the run used torch; importing it only to ask would cost seconds."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _git(folder: Path) -> dict[str, Any] | None:
    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
