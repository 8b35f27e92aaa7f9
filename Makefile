# Everything that `make` needs beyond python3, make and git it brings along: uv, in .venv-uv, and with it the
# developer environment in .venv and SAM CLI in .venv-sam.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export SAM_CLI_TELEMETRY = 0

UV := .venv-uv/bin/uv
BIN := .venv/bin
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" sam
LOCK = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --upgrade

help: ## these lines
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 8

demo: .venv/ready ## the whole chain on this machine: every event type, signed, verified, published, delivered
	@$(BIN)/webhooks demo

dev: .venv/ready ## the same, staying up: prints a URL, a secret and a command that sends events
	@$(BIN)/webhooks dev

test: .venv/ready ## unit and integration tests, with coverage
	@$(BIN)/pytest --cov --cov-report=term $(ARGS)

lint: .venv/ready ## ruff, mypy and cfn-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml examples/subscriber/template.yaml

e2e: .venv/ready build ## the built artefact under Lambda's own runtime client and emulator
	@$(BIN)/pytest tests/e2e $(ARGS)

events: .venv/ready ## write events/ anew from the catalogue
	@$(BIN)/webhooks events --write events

build: .venv-sam/ready ## sam build
	@$(SAM) build

lock: $(UV) ## pin the newest releases of everything the developer environments need
	$(LOCK) pyproject.toml --group dev src/requirements.txt cli/pyproject.toml -o requirements-dev.txt
	$(LOCK) --group sam -o requirements-sam.txt

$(UV):
	@echo "Setting up uv in .venv-uv"
	@python3 -m venv .venv-uv || { echo "python3 lacks venv: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@.venv-uv/bin/pip install -q --disable-pip-version-check uv==0.13.9

.venv/ready: requirements-dev.txt pyproject.toml cli/pyproject.toml | $(UV)
	$(call environment,.venv,requirements-dev.txt)
	@$(UV) pip install -q --python .venv --no-deps --no-build-isolation -e . -e cli
	@touch $@

.venv-sam/ready: requirements-sam.txt | $(UV)
	$(call environment,.venv-sam,requirements-sam.txt)
	@touch $@

define environment
@echo "Setting up $(1) from $(2)"
@$(UV) venv -q --clear --seed --python 3.13 $(1) || { echo "Python 3.13, Lambda's, is needed: install it (pyenv install 3.13, or brew install python@3.13)" >&2; exit 1; }
@$(UV) pip install -q --python $(1) --require-hashes -r $(2)
endef

.PHONY: help demo dev test lint e2e events build lock
