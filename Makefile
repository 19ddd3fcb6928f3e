# The words of this project. People and CI say the same ones.
#
#   make demo      map the bundled scene with the lean runtime only
#   make install   everything, for developing
#   make test      the tests            (installs first)
#   make lint      ruff                 (installs first)
#   make types     mypy over what ships (installs first)
#   make check     lint, types and test
#   make docs      the tables and pictures that documents are filled with, made anew (installs first)
#   make rtx       NVIDIA's compiler for the tests that compile for RTX cards; needs no GPU, skipped where it has no wheel
#   make fuzz      20 000 damaged files from a seed: no traceback, hang, crash or wrong map (docs/testing.md)
#   make mutants   break what must never be wrong, and see whether the tests notice (docs/testing.md)
#   make gpu-test  the tests for a machine with an NVIDIA GPU and TensorRT (docs/devices.md)
#   make gpu-report  all that a visit to a GPU can prove and measure, in 8 minutes (docs/benchmarking.md)
#   make gpu-kit   what a GPU machine without a registry lacks, in parts: docs/gpu-kit.md (installs first)
#   make test-lean the runtime's tests, without torch: make test-lean PYTHON=python3.10
#
# PYTHON, VENV, DEMO_VENV and DEMO_OUT can be set: make install PYTHON=python3.12 VENV=.venv312

PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
DEMO_OUT ?= demo
LEAN_VENV ?= .venv-lean
PYTEST_ARGS ?=
FUZZ_ARGS ?= --inputs 20000
GPU_REPORT ?= gpu-report
GPU_REPORT_ARGS ?= --minutes 8
MUTANTS_ARGS ?= --json build/mutants.json
PYTHON_VERSION ?= 3.12
PART_MB ?= 55
KIT_GROUPS ?=
KIT_DATA ?=
KIT_HAS ?=
KIT_ARGS ?=

SCENE := runtime/bundled/example_scene.tif
SHIPPED := build/shipped
TORCH_FREE_CORE_TESTS := tests/core/tiling tests/core/rasters tests/core/progress $(filter-out tests/core/test_metrics.py,$(wildcard tests/core/test_*.py))
LEAN_SOURCES := pyproject.toml setup.py $(shell find kda_edge runtime -name '*.py') $(wildcard runtime/bundled/*.onnx runtime/bundled/*.tif)

.DEFAULT_GOAL := help
.PHONY: help install check lint types test test-lean docs fuzz mutants gpu-test gpu-report gpu-kit rtx demo clean

help:
	@sed -n 's/^#   //p' Makefile

install: $(VENV)/.installed

# Dependency groups need pip 25.1.
$(VENV)/.installed: pyproject.toml
	@echo "Installing PyTorch and all that developing needs: gigabytes, some minutes."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[train,export,bench,paper,peers]' --group dev
	touch $@

check: lint types test

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# An editable install hides the other folders from mypy, which then checks only the core and says "Success".
# build/lib would bring deleted modules back.
types: install
	rm -rf $(SHIPPED) build/lib
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --target $(SHIPPED) .
	MYPYPATH=$(SHIPPED) $(VENV)/bin/mypy -p kda_edge

test: install
	$(VENV)/bin/pytest -n auto --dist loadfile $(PYTEST_ARGS)

docs: install
	$(VENV)/bin/python -m kda_edge.benchmarks.documents.performance_page
	$(VENV)/bin/python -m kda_edge.benchmarks.documents.training_tables
	$(VENV)/bin/python tests/support/architecture_page.py
	$(VENV)/bin/python tests/support/configuration_page.py

fuzz: install
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/fuzz/fuzz.py $(FUZZ_ARGS)

mutants: install
	$(VENV)/bin/python tests/mutants/mutants.py $(MUTANTS_ARGS)

rtx: install
	$(VENV)/bin/python -m pip install --quiet --group rtx || \
	  echo "make rtx: no wheel of tensorrt-rtx for this platform; the tests that compile for RTX cards will be skipped" >&2

# TensorRT comes with the device's own packages or with the extra `tensorrt`: see docs/devices.md.
gpu-test:
	$(VENV)/bin/pytest -m gpu -s tests/runtime/tensorrt/test_gpu.py $(PYTEST_ARGS)

# In whatever environment is there: on a borrowed machine nothing can be installed. PYTHON=.venv/bin/python for a clone's.
gpu-report:
	$(PYTHON) -m kda_edge.benchmarks.gpu.gpu_report --out $(GPU_REPORT) $(GPU_REPORT_ARGS)

# build/lib would bring deleted modules back into the wheel.
gpu-kit: install
	rm -rf build/lib
	nice $(VENV)/bin/python -m kda_edge.benchmarks.kit.collect --python-version $(PYTHON_VERSION) --part-mb $(PART_MB) \
	  $(if $(KIT_GROUPS),--groups $(KIT_GROUPS)) $(if $(KIT_DATA),--data $(KIT_DATA)) $(if $(KIT_HAS),--has $(KIT_HAS)) $(KIT_ARGS)

# An environment of its own each time: the oldest Python counts as much as the newest. onnx makes the tests' tiny models.
test-lean:
	$(PYTHON) -m venv --clear $(LEAN_VENV)
	$(LEAN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable . 'pytest>=8.2' 'hypothesis>=6.100' onnx
	$(LEAN_VENV)/bin/pytest tests/runtime $(TORCH_FREE_CORE_TESTS) $(PYTEST_ARGS)

demo: $(DEMO_VENV)/.installed
	$(DEMO_VENV)/bin/kda-infer $(SCENE) -o $(DEMO_OUT)
	@echo
	@echo "Look at $(DEMO_OUT)/example_scene_landslide.png. Beside it, for a GIS:"
	@echo "  $(DEMO_OUT)/example_scene_landslide.tif      class, probability and qa, where the scene lies"
	@echo "  $(DEMO_OUT)/example_scene_landslide.geojson  polygons with area and probability"

$(DEMO_VENV)/.installed: $(LEAN_SOURCES)
	$(PYTHON) -m venv $(DEMO_VENV)
	rm -rf build/lib
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check .
	touch $@

clean:
	rm -rf build dist *.egg-info $(DEMO_OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
