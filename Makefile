# make brings everything beyond python3, make and git: uv, and an environment each for development, SAM CLI and checkov.
# A folder with a Makefile of its own (cli/, examples/, evidence/) adds to these targets. You can delete such a folder.
UV := .venv-uv/bin/uv
BIN := .venv/bin
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam
PYTEST := $(BIN)/pytest -n auto --dist worksteal
# Options can select tests that a room does not have. pytest then ends with 5.
SELECTED = $(if $(ARGS),$(ARGS) || test $$? = 5)
LOCK = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(ARGS)
TEMPLATES := template.yaml $(wildcard examples/*/template.yaml cli/src/*/subscriber/template.yaml)
GENERATED := src/openai_webhooks/__init__.py docs/guide/subscribe.md
ENV ?= default
ENVIRONMENT := .venv-sam/bin/python -P scripts/environment.py $(ENV)
# Container images often set this. Without bytecode, each of the many processes of the tests compiles its imports.
unexport PYTHONDONTWRITEBYTECODE
.DELETE_ON_ERROR:
.PHONY: help demo dev check unit test test-template lint lint-template format e2e e2e-template build deploy generate lock lock-template clean

help: ## Show these lines
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/%/NAME/; s/:[^#]*## /\t/' | expand -t 16

check: lint test demo ## Run lint, test and demo
unit: .venv/ready ## Run the unit tests of the core and the receiver
	@$(BIN)/pytest tests/unit/openai_webhooks tests/unit/receiver $(ARGS)
test: test-template ## Run the unit and integration tests, with coverage
test-template: .venv/ready
	@$(PYTEST) $(or $(SELECTED),--cov --cov-report=term)
e2e: e2e-template ## Run the artifact in Lambda's runtime and sam local, sam deploy to an emulator, and the page
e2e-template: .venv/ready build
	@$(BIN)/pytest tests/e2e $(SELECTED)
lint: lint-template ## Check style, types, spelling, templates and generated text
lint-template: .venv/ready .venv-checkov/ready $(TEMPLATES:%=.checkov/%)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/cog -I . --check --diff $(GENERATED)
	$(BIN)/cfn-lint $(TEMPLATES) schemas/template.yaml
	.venv-checkov/bin/checkov --framework cloudformation --skip-download --compact --quiet -d .checkov
format: .venv/ready ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: .venv-sam/ready ## Build the receiver with sam build, then trim and precompile it
	@$(ENVIRONMENT) --check
	@$(SAM) build --config-env $(ENV)
	@.venv-sam/bin/python -P scripts/artifact.py .aws-sam/build/ReceiverFunction
deploy: build ## Build and deploy to your AWS account; ENV=prod for another environment of samconfig.toml
	@$(ENVIRONMENT) $(ARGS)
	@$(SAM) deploy --config-env $(ENV) $(ARGS)
	@$(SAM) list stack-outputs --config-env $(ENV)
	@$(ENVIRONMENT) --next $(ARGS)

generate: .venv/ready ## Write events/, schemas/, the tables in the docs and the core's exports from the code
	@$(BIN)/cog -I . -r $(GENERATED)
lock: lock-template ## Compile the locked requirements; ARGS=--upgrade for the newest releases
lock-template: $(UV)
	$(LOCK) requirements/uv.in -o requirements/uv.txt
	$(LOCK) --python-version 3.13 requirements/receiver.in -o src/requirements.txt
	$(LOCK) pyproject.toml --group dev src/requirements.txt -o requirements/dev.txt
	$(LOCK) --group sam -o requirements/sam.txt
	$(LOCK) --group checkov -o requirements/checkov.txt
clean: ## Delete environments, builds and caches
	@rm -rf .venv .venv-* .aws-sam .checkov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.checkov/%: % .venv/ready # JSON, which is YAML
	@mkdir -p $(@D)
	@$(BIN)/python scripts/translate.py $< >$@
$(UV): requirements/uv.txt
	python3 -m venv --clear .venv-uv
	.venv-uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
# An environment contains its path, so a moved clone needs new ones. The file `ready` has the path.
.PHONY: $(shell grep -LxF -e "$(CURDIR)" .venv*/ready 2>/dev/null)

ENVIRONMENTS := .venv .venv-sam .venv-checkov
.venv/ready: requirements/dev.txt pyproject.toml
.venv-sam/ready: requirements/sam.txt
.venv-checkov/ready: requirements/checkov.txt
include $(wildcard */Makefile)
# The locked packages, and the folders with a pyproject.toml, which are used as they are.
$(ENVIRONMENTS:%=%/ready): | $(UV)
	@cache=$$($(UV) cache dir); mkdir -p "$$cache" && test -w "$$cache" || { echo "uv cannot write to its cache, $$cache. Choose another folder: export UV_CACHE_DIR=/tmp/uv-cache" >&2; exit 1; }
	$(UV) venv --quiet --clear --seed --python 3.13 $(@D)
	$(UV) pip install --python $(@D) --require-hashes $(patsubst %,-r %,$(filter %.txt,$^))
	$(if $(filter %.toml,$^),$(UV) pip install --python $(@D) --no-deps --no-build-isolation $(patsubst %pyproject.toml,-e ./%,$(filter %.toml,$^)))
	@pwd >$@
ifeq ($(wildcard cli),)
demo dev:
	@echo "make $@ needs the folder cli/ of openai-webhooks-eventbridge: copy it into this folder." >&2; exit 1
endif
