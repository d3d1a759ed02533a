# The whole developer interface; `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A cluster costs a core; the tests of a file share one.
TWO := -n 2 --dist loadfile
.DEFAULT_GOAL := help
export PYTHONPATH := operator:tests

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.ready ## Make the virtual environment from the lock file

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@echo "installing the locked Python dependencies into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The lock names every dependency; pip would look for newer ones of those that it is asked for with an extra.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: ## Pin the newest allowed dependencies, with hashes (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade -c requirements.lock -o requirements-dev.lock

.PHONY: fmt
fmt: setup ## Format and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: check
check: setup ## Format, lint, types, import contracts, generated files
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy -p cilium_hybrid
	$(BIN)/mypy tests
	$(BIN)/lint-imports --no-cache

.PHONY: generated
generated: setup ## Make crds/ and the references in docs/ from the models
	$(BIN)/cilium-hybrid crd > crds/ciliumhybrids.ciliumhybrid.io.yaml
	$(BIN)/python docs/generate.py

.PHONY: tools
tools: setup ## Build the testbed's programs into the user's cache
	@$(BIN)/python -m testbed.binaries

.PHONY: unit
unit: setup ## Tables and laws, with branch coverage
	$(BIN)/pytest tests/unit -q --cov --cov-report=term:skip-covered

.PHONY: test
test: check tools ## Everything that CI runs, two files at a time
	$(BIN)/pytest $(TWO)

.PHONY: test-all
test-all: check tools ## The same and the whole matrix of kills
	$(BIN)/pytest $(TWO) -m ""

release := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
IMAGE ?= cilium-hybrid-operator:$(release)
ENGINE ?= $(notdir $(firstword $(shell command -v buildah podman docker)))
# By name only: the engine reads the values from the environment, and no terminal shows them.
image_args = $(foreach name,GO_IMAGE PYTHON_IMAGE BASE_IMAGE RUNTIME_BIN GOPROXY GOSUMDB PIP_INDEX_URL,$(if $($(name)),--build-arg $(name)))
ca_secret = --secret id=ca,src=$(SSL_CERT_FILE)
pip_secret = --secret id=pip,src=$(PIP_CONFIG_FILE)

.PHONY: image
image: ## Build the container image; IMAGE=, ENGINE=, BASE_IMAGE= and the like
	@test -n "$(ENGINE)" || { echo "no buildah, podman or docker on PATH" >&2; exit 1; }
	$(ENGINE) build $(image_args) $(if $(SSL_CERT_FILE),$(ca_secret)) $(if $(PIP_CONFIG_FILE),$(pip_secret)) \
	  --build-arg VERSION=$(release) --build-arg REVISION=$(revision) --tag $(IMAGE) $(ENGINE_FLAGS) .

.PHONY: test-image
test-image: tools ## Build the image on a base made here, and reconcile with it (Debian, as root)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(BIN)/python -m image.build "$$folder" && IMAGE_FOLDER="$$folder" $(BIN)/pytest tests/image

.PHONY: demo
demo: tools ## A local cluster on which the operator installs Cilium; CHART= and VERSION= for another chart
	@CHART="$(CHART)" VERSION="$(VERSION)" $(BIN)/python -m testbed.demo

.PHONY: demo-down
demo-down: setup ## End the demo
	@$(BIN)/python -m testbed.demo down
