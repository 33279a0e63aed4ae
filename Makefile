# Set-up, demo, tests. `make` alone lists the targets. Needs Python 3.11, a JDK 17 and Maven; each is asked for by name.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
BIN := .venv/bin
UV := .venv/bootstrap/bin/uv
STAMP := .venv/.complete
FAST := not servers and not browser and not end_to_end and not slow
CHROMIUM_PACKAGES := chromium fonts-dejavu-core

.PHONY: help setup tools servers test-servers chromium demo test test-full check bench faults clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done
	@echo; echo '  make demo takes ONCE=1 (no pauses, ends by itself), SPEED=2 (sessions per second), JSON=1'

setup: $(STAMP) servers ## Python packages and server software; seconds when done before

tools:
	@missing() { echo "$$1 is missing: install it with \`$$2\`" >&2; exit 3; }; \
	command -v $(PYTHON) >/dev/null || missing 'Python 3.11' 'apt-get install -y python3.11 python3.11-venv'; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  missing "Python 3.11 (PYTHON=$(PYTHON) is another one)" 'apt-get install -y python3.11 python3.11-venv'; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  missing 'the venv module of Python 3.11' 'apt-get install -y python3.11-venv'; \
	[ -n "$${JAVA_HOME:-}" ] && PATH="$$JAVA_HOME/bin:$$PATH"; \
	command -v java >/dev/null || missing 'Java 17' 'apt-get install -y openjdk-17-jdk-headless'; \
	command -v javac >/dev/null || missing 'the Java compiler (JDK 17)' 'apt-get install -y openjdk-17-jdk-headless'; \
	command -v mvn >/dev/null || missing 'Maven' 'apt-get install -y maven'

$(UV): requirements-bootstrap.txt | tools
	@echo 'making the virtual environment .venv and downloading uv (25 MB, 5 s)'
	@$(PYTHON) -m venv .venv
	@rm -rf .venv/bootstrap
	@$(BIN)/python -m pip install -q --no-input --disable-pip-version-check --require-hashes \
	  --target .venv/bootstrap -r requirements-bootstrap.txt
	@touch $@

$(STAMP): $(UV) requirements.lock pyproject.toml
	@echo 'installing the Python packages of requirements.lock (2.4 GB; 1 to 3 minutes from an empty cache)'
	@UV_COMPILE_BYTECODE=1 $(UV) pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

servers: $(STAMP) | tools
	@$(BIN)/python -m streamlake_assets.servers.fetch

# so that no test waits for a download
test-servers: $(STAMP) | tools
	@$(BIN)/python -m streamlake_assets.servers.fetch --tests

chromium:
	@command -v chromium >/dev/null && exit 0; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	command -v apt-get >/dev/null && { [ -z "$$sudo" ] || command -v sudo >/dev/null; } || { \
	  echo 'Chromium is missing (the browser tests need it): install it with `apt-get install -y $(CHROMIUM_PACKAGES)`' >&2; \
	  exit 3; }; \
	echo 'installing Chromium for the browser tests by apt-get (110 MB, 30 s)'; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(CHROMIUM_PACKAGES) \
	  >/dev/null

demo: setup ## the whole chain on real bars, then UI and page until Ctrl-C
	@exec $(BIN)/streamlake demo $(if $(ONCE),--once) $(if $(SPEED),--speed $(SPEED)) $(if $(JSON),--json)

# first what needs no server, on all cores; both parts run whatever the first says
test: setup test-servers chromium ## every test but the slow ones
	@failed=0; $(BIN)/python -m pytest -q -n logical --dist loadfile -m '$(FAST)' || failed=$$?; \
	$(BIN)/python -m pytest --durations=25 -m 'not slow and not ($(FAST))' || failed=$$?; exit $$failed

test-full: setup test-servers chromium ## every test, with new examples
	@exec $(BIN)/python -m pytest --hypothesis-profile=searching

check: $(STAMP) ## format, lint, types, imports, Dagster definitions, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict streamlake_assets panel_app benchmarks
	$(BIN)/lint-imports
	$(BIN)/dg check defs
	$(BIN)/python -m pytest -q -m '$(FAST)'

bench: setup ## benchmarks; PROFILE=full for the long run
	@exec $(BIN)/python -m benchmarks run --profile $(or $(PROFILE),quick)

faults: setup test-servers ## the fault drill in full: kills, outages, rebalances, bad input; about 20 minutes
	@exec $(BIN)/python -m streamlake_assets.drill run $(if $(ONLY),--only $(ONLY)) $(if $(SHORT),--fast) \
	  $(if $(REPORT),--report $(REPORT))

clean: ## remove .venv, caches and build files; data (.streamlake) stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -not -path './.streamlake/*' -prune -exec rm -rf {} +
