# Everything a developer or CI needs. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CXX_FILES = $(shell find ceph_cls -name '*.cc' -o -name '*.h')

# The tests start many processes, which would each compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv build test test-fast soak test-dask-awkward protocol lint ctest fuzz ceph-packages object-class format demo demo-ceph demo-served notebooks bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check

# A stamp says that the Debian packages, the virtual environment and the Python packages are there.
$(VENV)/.installed: pyproject.toml setup.py tools/debian-packages
	@tools/debian-packages $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Python packages into $(VENV) and compiling the engine"
	@$(PIP) "setuptools>=77" "nanobind>=2.4"
	@$(PIP) --no-build-isolation --editable ".[plot,server]"
	@touch $@

# The tools that only developers and CI need.
$(VENV)/.installed-dev: $(VENV)/.installed
	@tools/debian-packages $(PYTHON) ceph
	@echo "Installing the tools for development"
	@$(PIP) --no-build-isolation --editable ".[dev]"
	@touch $@

venv: $(VENV)/.installed-dev  ## install the tools and a virtual environment in .venv, if missing

build: $(VENV)/.installed  ## compile the engine, only what changed
	@$(BIN)/python setup.py --quiet build_ext --inplace

# Each process keeps to neighbouring tests, which share what they need, until it has none left.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal

test: venv lint ctest test-dask-awkward  ## all that CI checks
	@$(PYTEST)

test-fast: build  ## the Python tests without the slow ones, and without Ceph and PostgreSQL
	@$(PYTEST) -m "not slow and not ceph and not postgres"

# dask-awkward takes an older Dask than the other tests have: this is an environment of its own, with the package in it
# as a user gets it.
DASK_AWKWARD := build/dask-awkward
test-dask-awkward: venv build  ## the tests of lazy arrays, beside the Dask that dask-awkward takes
	@rm -rf build/wheel build/lib.* build/bdist.*
	@$(BIN)/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(PYTHON) -m venv --clear $(DASK_AWKWARD)
	@PYTHONWARNINGS=ignore $(DASK_AWKWARD)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  "$$(echo build/wheel/*.whl)[dask-awkward,server]" hypothesis pytest pytest-timeout
	@$(DASK_AWKWARD)/bin/pytest -q tests/test_dask_awkward.py

SOAK_SECONDS ?= 120
soak: build  ## 64 clients of a service whose workers are killed, for SOAK_SECONDS=120, each answer checked
	@SKYHOOK_LOAD_S=$(SOAK_SECONDS) $(BIN)/python -m pytest -q -s -p no:xdist -o timeout=$$(($(SOAK_SECONDS) + 600)) \
	  tests/test_service_faults.py -k test_64_clients

protocol: venv  ## make the Python modules of skyhook_casa/protocol/delivery.proto again
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
	  skyhook_casa/protocol/delivery.proto

lint: venv  ## ruff, mypy and clang-format, changing nothing
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; false; }
	@$(BIN)/mypy
	@$(if $(CXX_FILES),$(BIN)/clang-format --dry-run -Werror $(CXX_FILES))

ctest: build  ## the C++ tests
	@cmake --build build/engine
	@ctest --test-dir build/engine -j 2 --output-on-failure --no-tests=ignore >build/ctest.log \
	  || { cat build/ctest.log; false; }
	@grep -E 'tests? (passed|failed)' build/ctest.log

FUZZ_SECONDS ?= 60
FUZZ := build/fuzz
FUZZ_KEPT := ceph_cls/fuzz/corpus
FUZZ_KEPT_BYTES := 150000
FUZZ_CXX ?= $(or $(shell command -v clang++),clang++-14)
fuzz: fuzz-build  ## let libFuzzer look for programs and objects that break the engine (needs clang)
	@for target in scan wire; do \
	  $(FUZZ)/ceph_cls/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=20 \
	    -rss_limit_mb=3000 -artifact_prefix=$(FUZZ)/ -verbosity=1 \
	    $(FUZZ)/corpus-$$target $(FUZZ_KEPT)/$$target $(FUZZ)/seeds-$$target || exit 1; \
	done

fuzz-build: venv
	@CXX=$(FUZZ_CXX) cmake --log-level=NOTICE -S . -B $(FUZZ) -G Ninja \
	  -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g" -DSKYHOOK_SANITIZE=ON -DSKYHOOK_FUZZ=ON \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dnanobind_DIR="$$($(BIN)/python -m nanobind --cmake_dir)"
	@cmake --build $(FUZZ) --target fuzz_scan fuzz_wire make_corpus reseal_corpus
	@mkdir -p $(foreach target,scan wire,$(FUZZ)/corpus-$(target) $(FUZZ)/seeds-$(target) $(FUZZ_KEPT)/$(target))
	@$(FUZZ)/ceph_cls/make_corpus $(FUZZ)/seeds-scan $(FUZZ)/seeds-wire 300

fuzz-keep: fuzz-build  # choose anew which inputs the repository keeps, after fuzzing
	@for target in scan wire; do \
	  $(BIN)/python ceph_cls/fuzz/keep_corpus.py $(FUZZ)/ceph_cls/fuzz_$$target $(FUZZ_KEPT)/$$target \
	    $(FUZZ_KEPT_BYTES) $(FUZZ)/corpus-$$target $(FUZZ)/seeds-$$target || exit 1; \
	done
	@$(FUZZ)/ceph_cls/reseal_corpus $(FUZZ_KEPT)/wire

ceph-packages:
	@tools/debian-packages $(PYTHON) ceph

object-class: ceph-packages build
	@cmake --build build/engine --target cls_skyhook_casa_1

format: venv  ## put Python and C++ into the project's format
	@$(BIN)/ruff check --quiet --fix --exit-zero .
	@$(BIN)/ruff format --quiet .
	@$(if $(CXX_FILES),$(BIN)/clang-format -i $(CXX_FILES))

demo: build  ## 200,000 events from ROOT file to plots, in demo-output/
	@$(BIN)/python docs/examples/demo.py demo-output

demo-ceph: object-class  ## the demo with cuts inside the OSDs of a real Ceph cluster, which it starts and ends
	@$(BIN)/python docs/examples/demo_ceph.py demo-output

demo-served: build  ## the demo through a service, which it starts and ends
	@$(BIN)/python docs/examples/demo_served.py demo-output

notebooks: venv build  ## execute the notebooks of docs/examples anew, in place
	@$(BIN)/python tools/notebooks.py docs/examples/*.ipynb

bench: venv build  ## the benchmarks beside their peers: 6 GB of data in bench-data/, an hour
	@$(PIP) --no-build-isolation --editable ".[bench]"
	@test -d bench-data || $(BIN)/python -m bench.data make bench-data
	@$(BIN)/python -m bench.run bench-data

clean:  ## remove what was built; the virtual environment stays
	rm -rf build dist *.egg-info demo-output skyhook_casa/_engine*.so .pytest_cache .mypy_cache .ruff_cache
