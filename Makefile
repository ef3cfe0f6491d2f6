# Everything a person types. `make help` lists it; each command does its own set-up in .venv first.
# PYTHON=python3.13 chooses the interpreter, ARGS="-k lease -x" goes to the command behind the target.

.DEFAULT_GOAL := help
.PHONY: help demo shop test check format bench bench-quick chaos docs pictures matrix lock dist setup clean
MAKEFLAGS += --no-print-directory

PY  := .venv/bin/python
BIN := .venv/bin

help: ## show this list
	@printf '\n  \033[1mpgjobq\033[0m: jobs in PostgreSQL, enqueued in your own transaction\n\n'
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z-]+:.*## / { printf "  \033[36mmake %-11s\033[0m %s\n", $$1, $$2 }' Makefile
	@printf '\n  Needs Python 3.11 or newer, nothing else: the first run sets up .venv by itself.\n'
	@printf '  Without make: see "Without make" in README.md.\n\n'

demo: setup ## a shop places 300 orders, a worker is killed, every promise is checked (1 minute)
	@$(PY) -m examples.ecommerce.demo $(ARGS)

shop: setup ## the same shop kept running for you to click through
	@$(PY) -m examples.ecommerce.serve $(ARGS)

test: setup ## run the tests against a real PostgreSQL (ARGS="-k word -x")
	@$(PY) -m pytest -n 4 --dist worksteal $(ARGS)

check: setup ## lint, format, types, layers, stray host names and paths, wheel contents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PY) tools/lock.py --check
	@$(PY) tools/changelog.py --check
	@$(PY) tools/strays.py
	@$(PY) tools/dist.py --check
	@echo "All checks passed."

format: setup ## let ruff lay out the code and sort the imports
	@$(BIN)/ruff check --fix-only --select I .
	@$(BIN)/ruff format .

bench: setup ## measure the queue against raw SQL and its peers (about 10 minutes)
	@$(PY) -m bench --docs --out .cache/bench/figures $(ARGS)

bench-quick: setup ## the same in about a minute, with few jobs
	@$(PY) -m bench --quick $(ARGS)

chaos: setup ## faults over a running load (CHAOS_SECONDS=600 CHAOS_SEED=1)
	@$(PY) -m tests.chaos $(ARGS)

docs: setup ## run every code block of README.md and docs/*.md against a real PostgreSQL
	@$(PY) -m pytest -n 2 tests/docs $(ARGS)

pictures: setup ## take the documentation's pictures of the dashboard anew (needs chromium)
	@PYTHONPATH=tests $(PY) -m web.pictures $(ARGS)

matrix: setup ## the database tests on PostgreSQL 14, 15, 16, 17 and 18 (ARGS="--only 14,18")
	@$(PY) tools/matrix.py $(ARGS)

dist: setup ## build sdist and wheel into dist/ and check what is in them
	@$(PY) tools/dist.py $(ARGS)

lock: setup ## resolve requirements-dev.txt anew after a change of dependencies (needs uv)
	@$(PY) tools/lock.py $(ARGS)

setup: ## make or refresh .venv (the other targets do it by themselves)
	@sh tools/setup.sh

clean: ## remove .venv, caches and builds
	rm -rf .venv .venv.lock .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
