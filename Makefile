# serve · test · demo · check · bench: see README.md. Everything is installed into .venv, from pinned versions.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# pytest's arguments, e.g. make test T="tests/dimse -k move"
T ?=

.PHONY: serve test demo check format conformance bench powercut manual wheel deb tools clean

serve: $(VENV)/runtime
	@exec $(BIN)/pacsnode serve

test: $(VENV)/dev tools
	$(BIN)/python -m pytest $(T)

demo: $(VENV)/runtime tools
	$(BIN)/python -m tests.system.demo

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.module_sizes
	@$(STATEMENT) | cmp -s - docs/conformance.md || { \
	  echo "make: docs/conformance.md is not what this code does; run: make conformance" >&2; exit 1; }

# The statement of the defaults; /dev/null is a configuration that says nothing.
STATEMENT = $(BIN)/pacsnode conformance --config /dev/null
conformance: $(VENV)/runtime
	$(STATEMENT) --output docs/conformance.md

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# BENCH picks some and says how much, e.g. make bench BENCH=receive,retrieve, or BENCH="flat --flat-instances 1000000".
bench: $(VENV)/runtime
	@sh benchmarks/install_peers.sh
	$(BIN)/python -m benchmarks $(BENCH)

# Power cuts in a QEMU machine: CUTS=200 for more, MUTANT=no-file-sync with a fault put in, SERVER=orthanc or dcmqrscp.
CUTS ?= 20
MUTANT ?=
SERVER ?= pacsnode
powercut: $(VENV)/dev
	@sh tests/durability/install_machine.sh $(SERVER)
	$(BIN)/python -m tests.durability.powercut --cuts $(CUTS) --server $(SERVER) $(if $(MUTANT),--mutant $(MUTANT))

# The same sources give the same packages: their date is that of the last commit.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

# Man pages and the completion for bash, into build/manual.
manual: $(VENV)/runtime
	$(BIN)/python packaging/manual.py build/manual

# build/lib may hold modules that are no more.
wheel: manual
	rm -rf build/lib build/bdist.* dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# dist/pacsnode_VERSION_ARCHITECTURE.deb; VERSION=0.1.0+1 calls it something else.
VERSION ?=
deb: wheel
	$(BIN)/python packaging/deb.py --wheel dist/*.whl --lock requirements.lock --output dist $(if $(VERSION),--version $(VERSION))

# DCMTK's clients are the peers that the tests and the demo talk to; dciodvfy looks for faults in what comes out; openssl
# makes certificates; faketime sets the clock of a process.
tools:
	@(for tool in storescu findscu movescu getscu echoscu dcmdump dciodvfy openssl faketime systemd-analyze; do command -v $$tool || exit; done) >/dev/null || { \
	  echo "installing Debian's dcmtk, dicom3tools, openssl, faketime and systemd, which the tests use"; \
	  { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends dcmtk dicom3tools openssl faketime systemd; } || { \
	    echo "make: they could not be installed; run: apt-get install dcmtk dicom3tools openssl faketime systemd" >&2; exit 1; }; }

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed; name one by: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: setup.cfg pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev: setup.cfg pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/runtime $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
