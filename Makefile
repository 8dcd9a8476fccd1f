# Two commands on a fresh clone: `make demo` and `make test`. Needed before: Python 3.11+ with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FAULT ?= errors
TRANSPORT ?= http
MODE ?= automatic
REPEAT ?= 1
PYTEST_ARGS ?=

.PHONY: help demo up test test-web conformance soak lint console-page format bench lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     the closed loop on a real fault, to healed:"
	@echo "              FAULT=errors|slow|crash|leak|hang|sessions|cache|all  TRANSPORT=http|stdio"
	@echo "              MODE=automatic|suggest  REPEAT=1"
	@echo "make test     every test, with real Prometheus and Alertmanager"
	@echo "make up       the whole stack in the foreground, until Ctrl-C"
	@echo "make test-web    in Chromium: every panel of every dashboard, and the receiver's page through a treatment"
	@echo "make conformance  the MCP conformance suite, direct and through the gateway"
	@echo "make soak     the long ones: hundreds of restarts in place and of sessions, ten calm minutes,"
	@echo "              a thousand kills of the receiver, a hundred thousand broken webhooks"
	@echo "make lint | format | bench | lock | clean"

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mcp-medic needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV) (once, about half a minute)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python -m stack.demo --fault $(FAULT) --transport $(TRANSPORT) --mode $(MODE) --repeat $(REPEAT)

up: $(READY)
	@$(BIN)/python -m stack.up

# Most tests wait: twice as many workers as cores, dealt out by tests/spread.py. Byte code is kept, whatever the
# environment says: hundreds of programs start.
test: $(READY)
	@$(BIN)/python -m stack.tools
	-@$(BIN)/python -m stack.node >/dev/null
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 4 --dist loadscope $(PYTEST_ARGS)
	@echo "not run here: make test-web, make conformance, make soak (short forms of the last two are among the tests above)"

test-web: $(READY)
	@MCP_MEDIC_WEB=1 $(BIN)/pytest tests/web $(PYTEST_ARGS)

conformance: $(READY)
	@$(BIN)/python -m stack.conformance

soak: $(READY)
	@$(BIN)/python -m bench.restarts --count 500
	@$(BIN)/python -m bench.sessions --count 200
	@$(BIN)/python -m bench.abandoned
	@$(BIN)/python -m bench.large --seconds 600
	@$(BIN)/python -m bench.calm --minutes 10
	@$(BIN)/python -m bench.kills --kills 1000
	@$(BIN)/python -m bench.fuzz

lint: $(READY)
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m rules.generate --check
	@$(BIN)/python -m rules.lint
	@$(BIN)/python -m grafana.generate --check
	@$(BIN)/python -m exporter.documentation --check
	@$(BIN)/python -m stack.alerts_table --check
	@$(BIN)/python -m stack.console_page --check
	@$(BIN)/python -m stack.completion --check

# Three minutes: every command on a live stack, kept in docs/console.md. What changed in help and schemas alone: --texts.
console-page: $(READY)
	@$(BIN)/python -m stack.console_page

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Each prints its goals and keeps its figures in run/bench/; about forty minutes on two quiet cores. One alone: BENCH="relay cache".
BENCH ?= relay cache large stdio rendering fleet logs redis_sessions processes scale webhook storm closed_loop
bench: $(READY)
	@for each in $(BENCH); do echo "== $$each"; $(BIN)/python -m bench.$$each || failed="$$failed $$each"; done; \
	  [ -z "$$failed" ] || { echo "goals missed or not measured:$$failed"; exit 1; }

# Needs uv (https://docs.astral.sh/uv/): one resolution that holds for every supported Python.
lock:
	uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock
	uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .tools run build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
