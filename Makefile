# The two commands that matter: `make demo` and `make test`. `make` alone lists them all.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Pulumi neither looks for updates nor fetches plugins behind one's back.
export PULUMI_SKIP_UPDATE_CHECK := 1
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION := true
# Each recipe that needs the environment starts with this; set-up itself must not run from it.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

# Two side by side; tests/conftest.py says which.
BESIDE := -n 2

SETUP_FLAGS :=
lint fuzz: SETUP_FLAGS := --tests
proofs clients bench: SETUP_FLAGS := --tests --clients

.PHONY: help
help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: demo
demo: image ## A machine of your own, from nothing to the first login (KEY=FILE: your public key)
	@$(IN_VENV) python -m tools.demo up $(if $(KEY),--key '$(KEY)')

.PHONY: demo-down
demo-down: setup ## Remove the demo and all that belongs to it (FORCE=1: without Pulumi)
	@$(IN_VENV) python -m tools.demo down $(if $(FORCE),--force)

.PHONY: test
test: ## Everything: lint, unit, program and machine tests
	@tools/setup.sh --tests --without-pulumi
	@# The image meanwhile, which the tests of machines wait for; they tell where it fails.
	@mkdir -p .secondlock
	@$(IN_VENV) python -m tools.image >.secondlock/image.log 2>&1 &
	@$(MAKE) --no-print-directory setup lint SETUP_FLAGS=--tests
	@$(IN_VENV) pytest $(BESIDE) -m 'not long' --durations=15 $(ARGS)

.PHONY: proofs
proofs: setup image ## What takes too long for `test`, for nights: two hours, Go and Node
	@$(IN_VENV) pytest tests/proofs --verbose $(ARGS)
	@$(IN_VENV) pytest tests/machine tests/program -m long --verbose
	@$(IN_VENV) SECONDLOCK_WAITING=20 SECONDLOCK_ROUNDS=50 SECONDLOCK_KILLS=10 \
		pytest tests/machine/test_totp.py tests/machine/test_upgrade.py \
		-k 'answer_one_code_together or kills_leave'

.PHONY: clients
clients: setup image ## Every SSH client people use, against a booted machine (Go, Node and Java: theirs too)
	@$(IN_VENV) pytest tests/clients --verbose $(ARGS)

.PHONY: lint
lint: setup ## ruff, mypy, import-linter and shellcheck
	@$(IN_VENV) ruff check --quiet --output-format=concise
	@$(IN_VENV) ruff format --check --quiet
	@$(IN_VENV) mypy --no-error-summary
	@cd cloudinit && $(IN_VENV) mypy --config-file=../pyproject.toml --cache-dir=../.mypy_cache/guest --no-error-summary -p guest
	@$(IN_VENV) lint-imports --no-cache >/dev/null || { $(IN_VENV) lint-imports --no-cache; exit 1; }
	@$(IN_VENV) shellcheck $$(git ls-files --cached --others --exclude-standard -- ':!*.j2' \
		| xargs -r awk 'FNR == 1 && /^#!.*sh$$/ { print FILENAME } { nextfile }')
	@echo "Lint: clean"

.PHONY: fuzz
fuzz: setup ## 100,000 random inputs for all that reads what others wrote (COUNT=, SEED=)
	@$(IN_VENV) python -m tests.fuzz $(or $(COUNT),100000) $(SEED)

.PHONY: bench
bench: setup image ## Measure, and print the table that docs/ keeps
	@$(IN_VENV) python -m bench --write

.PHONY: setup
setup: ## Packages, Python environment and Pulumi CLI, each only if missing
	@tools/setup.sh $(SETUP_FLAGS)

.PHONY: image
image: setup ## The machines' golden image, made once and kept (FRESH=1: once more, today's packages)
	@$(IN_VENV) python -m tools.image $(if $(FRESH),--fresh)

.PHONY: lock
lock: setup ## Pin the newest versions that requirements*.in allow
	@for name in requirements requirements-dev; do \
		uv=$$(ls -d "$${XDG_CACHE_HOME:-$$HOME/.cache}"/secondlock/uv-*/uv | tail -1); \
		"$$uv" pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
			--custom-compile-command "make lock" $$name.in --output-file $$name.txt; \
	done
	@# The hub's versions are image/hub-requirements.in's to change.
	@uv=$$(ls -d "$${XDG_CACHE_HOME:-$$HOME/.cache}"/secondlock/uv-*/uv | tail -1); \
	"$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
		--constraint <(sed 's/ --hash.*//' image/hub-requirements.txt) --no-annotate \
		--custom-compile-command "make lock" image/hub-requirements.in --output-file tests/hub-requirements.txt

.PHONY: clean
clean: ## Remove the environment and the tools' caches; never state or images
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.secondlock/*' -prune -exec rm -rf {} +
	@echo "Images and programs stay in $${XDG_CACHE_HOME:-$$HOME/.cache}/secondlock: remove it by hand."
