# make brings everything beyond python3, make and git: uv, and an environment each for development, SAM CLI, checkov and
# ministack.
UV := .venv-uv/bin/uv
BIN := .venv/bin
# The check comes before the script, because an old Python cannot read the script.
SET_UP = python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || { \
	echo "Python 3.8 or newer is needed, and python3 is: $$(python3 --version 2>&1)" >&2; \
	echo "Install it: apt-get install python3-venv, brew install python@3.13, or pyenv install 3.13" >&2; \
	exit 1; }; python3 cli/set_up.py
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam
LOCK = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(ARGS)
# The versions that the tests run with. Without hashes, because a local path has none.
EXAMPLE_LOCK = ../../$(UV) pip compile -q --universal --python-version 3.13 --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock" -c ../../requirements/dev.txt functions/requirements.in \
	-o functions/requirements.txt $(ARGS)
EXAMPLES := $(patsubst examples/%/template.yaml,%,$(wildcard examples/*/template.yaml))
TEMPLATES := template.yaml $(EXAMPLES:%=examples/%/template.yaml)
GENERATED := src/openai_webhooks/__init__.py docs/guide/subscribe.md
ARTIFACT := .aws-sam/build/ReceiverFunction
ENV ?= default
ENVIRONMENT := .venv-sam/bin/python -P cli/openai_webhooks_cli/environment.py $(ENV)
.DELETE_ON_ERROR:
.PHONY: help demo dev check unit test lint format e2e build deploy generate lock clean

help: ## Show these lines
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/%/NAME/; s/:[^#]*## /\t/' | expand -t 16

demo: .venv/ready ## Run every event type through the whole system on this machine
	@$(BIN)/openai-webhooks demo $(ARGS)
dev: .venv/ready ## Run the whole system on this machine until Ctrl-C
	@$(BIN)/openai-webhooks dev $(ARGS)

check: lint test demo ## Run lint, test and demo
unit: .venv/ready ## Run the unit tests of the core and the receiver
	@$(BIN)/pytest tests/unit/openai_webhooks tests/unit/receiver $(ARGS)
test: .venv/ready ## Run the unit and integration tests, with coverage
	@$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term $(ARGS)
e2e: .venv/browser .venv-ministack/ready build ## Run the artifact in Lambda's runtime and sam local, sam deploy to an emulator, and the page
	@$(BIN)/pytest tests/e2e $(ARGS)
lint: .venv/ready .venv-checkov/ready $(TEMPLATES:%=.checkov/%) ## Check style, types, spelling, templates and generated text
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/cog --check --diff $(GENERATED)
	$(BIN)/cfn-lint $(TEMPLATES) schemas/template.yaml
	.venv-checkov/bin/checkov --framework cloudformation --skip-download --compact --quiet -d .checkov
format: .venv/ready ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: .venv-sam/ready ## Build the receiver with sam build, then trim and precompile it
	@$(ENVIRONMENT) --check
	@$(SAM) build --config-env $(ENV)
	@.venv-sam/bin/python -P cli/openai_webhooks_cli/artifact.py $(ARTIFACT)
deploy: build .venv/ready ## Build and deploy to your AWS account; ENV=prod for another environment of samconfig.toml
	@$(ENVIRONMENT) $(ARGS)
	@$(SAM) deploy --config-env $(ENV) $(ARGS)
	@$(SAM) list stack-outputs --config-env $(ENV)
	@$(ENVIRONMENT) --next $(ARGS)

deploy-%: .venv-sam/ready examples/%/template.yaml ## Build and deploy the example in examples/NAME
	@cd examples/$* && $(SAM) build
	@# With bytecode, a function starts in half the time. Dates change in a zip file, so Python checks hashes.
	@.venv-sam/bin/python -m compileall -q -j 0 --invalidation-mode checked-hash examples/$*/.aws-sam/build
	@cd examples/$* && $(SAM) deploy $(ARGS) && $(SAM) list stack-outputs

generate: .venv/ready ## Write events/, schemas/, the tables in the docs and the core's exports from the code
	@$(BIN)/cog -r $(GENERATED)
	@rm -f events/*.json
	@$(BIN)/openai-webhooks events --write events
	@$(BIN)/openai-webhooks events --write-schemas schemas
lock: $(UV) ## Compile the locked requirements; ARGS=--upgrade for the newest releases
	$(LOCK) --python-version 3.13 requirements/receiver.in -o src/requirements.txt
	$(LOCK) pyproject.toml --group dev src/requirements.txt cli/pyproject.toml --extra local -o requirements/dev.txt
	$(foreach name,$(EXAMPLES),cd examples/$(name) && $(EXAMPLE_LOCK) && cd ../.. &&) true
	$(LOCK) --group sam -o requirements/sam.txt
	$(LOCK) --group checkov -o requirements/checkov.txt
	$(LOCK) --group ministack -o requirements/ministack.txt
	$(LOCK) --group browser -c requirements/dev.txt -o requirements/browser.txt
clean: ## Delete environments, builds and caches
	@rm -rf .venv .venv-* .aws-sam .checkov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.checkov/%: % .venv/ready # JSON, which is YAML
	@mkdir -p $(@D)
	@$(BIN)/python -m openai_webhooks_cli.local.sam_template $< >$@
.venv/browser: requirements/browser.txt .venv/ready
	@echo "Installing playwright into .venv"
	@$(UV) pip install -q --python .venv --require-hashes -r $<
	@touch $@
$(UV):
	@$(SET_UP)
.venv/ready: requirements/dev.txt pyproject.toml cli/pyproject.toml
.venv-sam/ready: requirements/sam.txt
.venv-checkov/ready: requirements/checkov.txt
.venv-ministack/ready: requirements/ministack.txt
.venv/ready .venv-sam/ready .venv-checkov/ready .venv-ministack/ready:
	@$(SET_UP) $@ $^
# An environment contains its path, so a moved clone needs new ones. The file `ready` has the path.
.PHONY: $(shell grep -LxF -e "$(CURDIR)" .venv*/ready 2>/dev/null)

# Experiments that show what README promises. Without the folder, everything above works.
-include evidence/Makefile
