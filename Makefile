# Everything a person does with a clone. Needs Python 3.11 or newer with venv and pip, git and make.
#
#   make quickstart   the whole journey on a small model, on a CPU
#   make test         the tests
#   make check        lint, types, import layers, recipes and generated docs
#   make bench        speed and memory against TRL, quick (BENCH='--env ...' for options; benchmarks/README.md)
#   make docs         write the generated pages of docs/ anew
#   make clean        remove the virtual environments and caches (runs, data and fetched models stay)

VENV ?= .venv
WORKERS ?= 2
PY := $(VENV)/bin/python
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

# One thread a process: the tests run side by side, and results do not depend on the number of cores.
test check: export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help quickstart test check bench docs install clean

help:
	@sed -n 's/^#   //p' Makefile

quickstart: install
	@$(PY) -m examples.harbor.quickstart

test: install
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile

check: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_layers.py tests/test_recipes.py tests/test_docs.py

bench: install
	@$(PY) -m benchmarks $(BENCH)

docs: install
	@$(PY) docs/generate.py
	@$(PY) docs/generate_methods.py
	@$(PY) docs/generate_audit.py

install: $(VENV)/.installed

# torch first and by itself: with it pinned, pip takes a CPU build where one is at hand; resolved together with the
# rest it may fetch gigabytes of CUDA libraries.
$(VENV)/.torch-$(TORCH):
	@python=; for name in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
		if command -v $$name >/dev/null 2>&1 \
			&& $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
		then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "simpo needs Python 3.11 or newer, and none was found on the PATH." >&2; \
		echo "  fix: install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import venv, ensurepip' >/dev/null 2>&1; then \
		echo "$$python cannot make virtual environments (no venv or ensurepip)." >&2; \
		echo "  fix: install it, on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "installing into $(VENV) with $$($$python --version): a few minutes, once"; \
	$$python -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet torch==$(TORCH)
	@touch $@

$(VENV)/.installed: $(VENV)/.torch-$(TORCH) pyproject.toml constraints.txt
	@$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .ci-venv benchmarks/.venv-trl build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
