# `make` alone lists the targets.

PYTHON := .venv/bin/python
SEEDS ?= 5000

.DEFAULT_GOAL := help
.PHONY: help setup engines demo demo-down lab images test check bench bench-ports simulate newcomer docs format lock clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## Install the Debian packages and Python packages that are missing (asks first)
	@.ci/setup

engines: setup
	@.ci/engines start

demo: setup ## A control plane and a node on this machine, running examples/cluster.yaml
	@examples/demo/up

demo-down: ## Remove everything that the demo made
	@examples/demo/down

lab: engines ## Walk through the lab's text with its own commands, on two nodes of this machine
	@examples/lab/walk

images: setup ## Build the container and VM image of examples/cluster.yaml
	@examples/images/build-web examples/images/web.tar
	@examples/images/build-vm examples/images/vm.qcow2

test: engines ## Run all tests, those with real Docker and libvirt too
	$(PYTHON) -m pytest tests -q

check: setup ## Check format, lint, types and the direction of imports
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: engines ## Measure speed and footprint
	$(PYTHON) -m tests.bench

bench-ports: engines ## Measure what publishing a port costs, beside direct access (root)
	$(PYTHON) -m tests.bench.ports

simulate: setup ## Run a simulated cluster with faults, SEEDS times (SEEDS=5000)
	$(PYTHON) -m tests.simulation --seeds $(SEEDS)

newcomer: ## Try `make demo` and `make test` on a bare Debian 12 of its own, as a newcomer would (root)
	@tests/newcomer/run

docs: setup ## Write docs/reference.md anew from the code
	COLUMNS=80 PYTHONPATH=. $(PYTHON) docs/make_reference.py

format: setup ## Format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# One lock for every Python version that setup.py allows; libvirt's binding comes from Debian.
UV_COMPILE = $(LOCK_DIR)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links --upgrade

lock: LOCK_DIR := $(shell mktemp -d -u -t iaas-lock.XXXXXX)
lock: ## Take the newest Python packages that setup.py allows into the lock files
	/usr/bin/python3 -m venv $(LOCK_DIR)
	$(LOCK_DIR)/bin/pip -qq install uv
	$(UV_COMPILE) setup.py -o requirements.lock
	$(UV_COMPILE) setup.py --extra dev -c requirements.lock -o requirements-dev.lock
	rm -rf $(LOCK_DIR)

clean: ## Remove what was built and cached here (not the demo: make demo-down)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f examples/images/*.tar examples/images/*.qcow2 examples/images/*.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
