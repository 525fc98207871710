# serve · test · demo · check · bench: see README.md. Everything is installed into .venv, from pinned versions.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# pytest's arguments, e.g. make test T="tests/dimse -k move"
T ?=

.PHONY: serve test demo check format conformance bench powercut proof fuzz coverage lock sbom vmtest manual wheel deb tools clean

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

# FUZZ=identifier is one target, FUZZ_SECONDS how long each takes; what is found stays in .fuzz.
FUZZ ?=
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/dev
	$(BIN)/python -m tests.fuzz.run $(FUZZ) --seconds $(FUZZ_SECONDS)

# Lines of the parsers that the seeds of the fuzz targets run; the suite asks for 90 % of each.
coverage: $(VENV)/dev
	$(BIN)/python -m pytest tests/fuzz/test_corpora.py -k reach -rA

# The lock file: everything that is installed for serving, each with its hashes.
lock: $(VENV)/supply
	$(SUPPLY)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file requirements.lock setup.cfg

# The software bill of materials of what the lock file says, as CycloneDX JSON.
sbom: $(VENV)/supply
	@mkdir -p build
	$(SUPPLY)/cyclonedx-py requirements --output-reproducible --output-format JSON \
	  --output-file build/pacsnode.cdx.json requirements.lock
	@echo wrote build/pacsnode.cdx.json

# Tools in a place of their own: what they depend on must not decide what we depend on.
SUPPLY := $(VENV)/supply/bin
$(VENV)/supply: $(VENV)/bin/python
	$(PYTHON) -m venv $@
	$(SUPPLY)/pip install --quiet pip-tools==7.6.2 cyclonedx-bom==7.5.0

# Scrub and backup at length: damaged bytes, kills at random points, a restore and an incremental run of real size.
FLIPS ?= 500
KILLS ?= 50
RESTORED ?= 20000
proof: $(VENV)/dev tools
	PACSNODE_FLIPS=$(FLIPS) PACSNODE_SCRUB_KILLS=$(KILLS) PACSNODE_BACKUP_KILLS=$(KILLS) \
	  $(BIN)/python -m pytest tests/integrity tests/backup
	$(BIN)/python -m tests.backup.restore_run --instances $(RESTORED)
	$(BIN)/python -m tests.backup.incremental_run
	$(BIN)/python -m benchmarks scrub --output $(VENV)/scrub.json

# The units and the package under Debian's systemd, in a QEMU machine.
VM_PACKAGE := build/vm/pacsnode.deb
vmtest: $(VENV)/dev tools $(VM_PACKAGE)
	@sh tests/vm/install_debian.sh "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
	PACSNODE_VM=1 PACSNODE_DEB=$(VM_PACKAGE) $(BIN)/python -m pytest -v --durations=0 tests/vm $(T)

# Kept until something that goes into it changes.
$(VM_PACKAGE): setup.cfg pyproject.toml requirements.lock $(shell find pacsnode packaging systemd config -type f ! -name '*.pyc')
	$(MAKE) deb
	@mkdir -p $(@D)
	cp "$$(ls -t dist/*.deb | head -n 1)" $@

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
# makes certificates; faketime sets the clock of a process; promtool tries the alert rules.
tools:
	@[ ! -x $(BIN)/python ] || sh tests/metrics/install_promtool.sh $(BIN)/promtool || \
	  echo "make: promtool could not be had; tests of config/alerts.yml are skipped" >&2
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
	rm -rf $(VENV) .fuzz build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
