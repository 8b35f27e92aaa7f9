# `make` brings what it needs beyond python3, make and git: uv in .venv-uv, the developer environment in .venv, and
# SAM CLI and checkov, which pin a boto3 of their own, in .venv-sam and .venv-checkov.
UV := .venv-uv/bin/uv
BIN := .venv/bin
SAM := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam
LOCK = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --upgrade
TEMPLATES := template.yaml examples/subscriber/template.yaml
ENV = default
ARTEFACT := .aws-sam/build/ReceiverFunction
.DELETE_ON_ERROR:
.PHONY: help demo dev test lint e2e chaos fuzz bench events build size deploy lock

help: ## these lines
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 8
demo: .venv/ready ## the whole chain on this machine: every event type, signed, verified, published, delivered
	@$(BIN)/webhooks demo
dev: .venv/ready ## the same, staying up: prints a URL, a secret and a command that sends events
	@$(BIN)/webhooks dev
test: .venv/ready ## unit and integration tests, with coverage
	@$(BIN)/pytest --cov --cov-report=term $(ARGS)
lint: .venv/ready .venv-checkov/ready $(TEMPLATES:%=.checkov/%) ## ruff, mypy; cfn-lint, and checkov on the templates as CloudFormation gets them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint $(TEMPLATES)
	.venv-checkov/bin/checkov --framework cloudformation --skip-download --compact --quiet -d .checkov
e2e: .venv/ready build ## the built artefact under Lambda's own runtime client, and sam local in containers
	@$(BIN)/pytest tests/e2e $(ARGS)
chaos: .venv/ready build ## deliveries to receivers that die before an AWS that fails, and mutants; ARGS=--help
	@$(BIN)/python -m proof $(ARGS)
fuzz: .venv/ready ## verify, unwrap and the handler under mutated deliveries for a minute; ARGS="--seconds 600" for more
	@$(BIN)/python -m proof.fuzz $(ARGS)
bench: .venv/ready build ## the receiver beside other ways to do the same, by measurement: docs/performance.md; ARGS=--quick
	@$(BIN)/python -m benchmarks.bench $(ARGS)
size: .venv/ready build ## the artefact's size by package, against its budget
	@$(BIN)/python benchmarks/size.py
events: .venv/ready ## write events/ anew from the catalogue
	@$(BIN)/webhooks events --write events
build: .venv-sam/ready ## sam build, then trimmed and compiled, for half the cold start: docs/footprint.md
	@$(SAM) build --config-env $(ENV)
	@.venv-sam/bin/python -P cli/webhooks/artefact.py $(ARTEFACT)
deploy: build ## build, deploy to your account, and say what comes next; ENV=prod for another environment of samconfig.toml
	@$(SAM) deploy --config-env $(ENV) $(ARGS)
	@$(SAM) list stack-outputs --config-env $(ENV)
	@echo "Next: register WebhookUrl in OpenAI's dashboard, then run StoreSecretCommand with the secret that it shows."
lock: $(UV) ## pin the newest releases of everything the developer environments need
	$(LOCK) pyproject.toml --group dev src/requirements.txt cli/pyproject.toml -o requirements-dev.txt
	$(LOCK) --group sam -o requirements-sam.txt
	$(LOCK) --group checkov -o requirements-checkov.txt

.checkov/%: % .venv/ready # JSON, which is YAML
	@mkdir -p $(@D)
	@$(BIN)/python -m webhooks.stacks $< >$@
$(UV):
	@echo "Setting up uv in .venv-uv"
	@python3 -m venv .venv-uv || { echo "python3 lacks venv: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@.venv-uv/bin/pip install -q --disable-pip-version-check uv==0.13.9
.venv/ready: requirements-dev.txt pyproject.toml cli/pyproject.toml
.venv-sam/ready: requirements-sam.txt
.venv-checkov/ready: requirements-checkov.txt
.venv/ready .venv-sam/ready .venv-checkov/ready: | $(UV)
	@echo "Setting up $(@D) from $<"
	@$(UV) venv -q --clear --seed --python 3.13 $(@D) || { echo "Python 3.13, Lambda's, is needed: install it (pyenv install 3.13, or brew install python@3.13)" >&2; exit 1; }
	@$(UV) pip install -q --python $(@D) --require-hashes -r $<
	@case $(@D) in .venv) $(UV) pip install -q --python .venv --no-deps --no-build-isolation -e . -e cli;; esac
	@touch $@
