# The developer interface; `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A test cluster keeps one core busy. The tests of a file share a cluster, so they stay in one worker.
PARALLEL := -n 2 --dist loadfile
.DEFAULT_GOAL := help
export PYTHONPATH := operator:tests

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.ready ## Create the virtual environment from the lock file

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@echo "installing the locked Python dependencies into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# --no-deps: the lock file names every dependency, and pip would search for newer versions of those with extras.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: ## Update the lock files to the newest allowed dependencies (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --upgrade -c requirements.lock -o requirements-dev.lock

.PHONY: fmt
fmt: setup ## Format the code and apply automatic fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: check
check: setup ## Check format, lint, types, import contracts and generated files
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy -p cilium_hybrid
	$(BIN)/mypy tests
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

.PHONY: generated
generated: setup ## Generate the CRD and the references in docs/ from the models
	$(BIN)/python docs/generate.py

.PHONY: chart-keys
chart-keys: setup ## Update rules/minors from charts; CHARTS=<folder with cilium-X.Y.Z.tgz>
	@$(BIN)/python -m chart.keys "$(CHARTS)"

.PHONY: tools
tools: setup ## Build the test tools (kube-apiserver, etcd, helm, …) into the user's cache
	@$(BIN)/python -m testbed.binaries

.PHONY: unit
unit: setup ## Run the unit tests with branch coverage
	$(BIN)/pytest tests/unit -q --cov --cov-report=term:skip-covered

HISTORIES ?= 2000
SEED ?= 1
.PHONY: simulate
simulate: setup ## Run HISTORIES= random histories of a model cluster from SEED=, and check what must always hold
	@$(BIN)/python -m simulation --histories $(HISTORIES) --seed $(SEED) $(SIMULATE_FLAGS)

.PHONY: simulate-mutants
simulate-mutants: setup ## Put known faults back one by one, and check that the simulation or a test finds each
	@$(BIN)/python -m simulation.mutate $(MUTANTS)

.PHONY: test
test: check tools ## Run the checks and all tests that CI runs
	@$(BIN)/python -m testbed.site.programs --optional 1.18
	$(BIN)/pytest $(PARALLEL)

.PHONY: test-site
test-site: tools ## Run the tests on real nodes, with Cilium itself (needs root, a kernel with BTF and clang)
	@$(BIN)/python -m testbed.site.programs
	REAL_NODES=required $(BIN)/pytest tests/real -m "" -s

.PHONY: test-all
test-all: check tools simulate-mutants ## Run test, the long tests, test-site, test-image, simulate-mutants and the tests of the charts in CILIUM_CHARTS=
	@$(BIN)/python -m testbed.site.programs
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(BIN)/python -m image.build "$$folder" && IMAGE_FOLDER="$$folder" $(BIN)/pytest $(PARALLEL) -m ""

release := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
IMAGE ?= cilium-hybrid-operator:$(release)
ENGINE ?= $(notdir $(firstword $(shell command -v buildah podman docker)))
# Only the names: the engine reads the values from the environment, so no terminal or log shows them.
image_args = $(foreach name,GO_IMAGE PYTHON_IMAGE BASE_IMAGE RUNTIME_BIN GOPROXY GOSUMDB PIP_INDEX_URL,$(if $($(name)),--build-arg $(name)))
ca_secret = --secret id=ca,src=$(SSL_CERT_FILE)
pip_secret = --secret id=pip,src=$(PIP_CONFIG_FILE)

.PHONY: image
image: ## Build the container image; set IMAGE=, ENGINE=, BASE_IMAGE=, … to override
	@test -n "$(ENGINE)" || { echo "no buildah, podman or docker on PATH" >&2; exit 1; }
	$(ENGINE) build $(image_args) $(if $(SSL_CERT_FILE),$(ca_secret)) $(if $(PIP_CONFIG_FILE),$(pip_secret)) \
	  --build-arg VERSION=$(release) --build-arg REVISION=$(revision) --tag $(IMAGE) $(ENGINE_FLAGS) .

.PHONY: test-image
test-image: tools ## Build the image on a locally built base and test it (needs Debian, root and Go)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(BIN)/python -m image.build "$$folder" && IMAGE_FOLDER="$$folder" $(BIN)/pytest tests/image

.PHONY: demo
demo: tools ## Start a local cluster and let the operator install Cilium; CHART= and VERSION= select the chart
	@CHART="$(CHART)" VERSION="$(VERSION)" $(BIN)/python -m testbed.demo

.PHONY: demo-down
demo-down: setup ## Stop the demo
	@$(BIN)/python -m testbed.demo down
