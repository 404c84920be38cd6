# Everything runs in .venv, which each target makes when it is missing or when setup.cfg has changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python
# The other versions that must work: Python 3.12 with jax 0.11 and NumPy 2.5.
PYTHON312 ?= $(or $(shell python3.12 -c "import sys; print(sys.executable)" 2>/dev/null),$(lastword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python)))
# Files of tests at a time; where there is a GPU one, which has it to itself.
WORKERS ?= $(if $(shell command -v nvidia-smi),0,2)
export JAX_PLATFORMS ?= $(if $(shell command -v nvidia-smi),,cpu)

.PHONY: help install demo studio studio-soak test test-slow test-312 test-exhaustive lint docs calibrate evaluate clean
help:  ## what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

.venv/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

install: .venv/.installed  ## make .venv and install the project with its test tools

demo: .venv/.installed  ## generate clips for a few prompts into outputs/demo, and print what the oracles read in them
	$(RUN) -m experiments.sample --prompts_file=experiments/prompts/demo.txt --output_dir=outputs/demo --seed=1

studio: .venv/.installed  ## serve the page at http://127.0.0.1:8000 and the HTTP API at /v1, with their files in outputs/studio
	$(RUN) -m pip install --quiet --editable '.[studio]'
	$(RUN) -m experiments.serve --directory=outputs/studio

studio-soak: .venv/.installed  ## kills of API, worker and PostgreSQL under load, 50 clients, memory over 1,000 jobs; hours
	$(RUN) -m pip install --quiet --editable '.[studio]'
	$(RUN) -m experiments.studio_soak --output=outputs/studio_soak.json

test: .venv/.installed  ## the tests of every change
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile

# Not for every platform and version of jax: where it cannot be had, make says so and the tests that need it are skipped.
build/gpu_compiler: .venv/.installed
	-$(RUN) -m kernels.gpu_graph --install=$@

# Drives the page of the studio. The same holds: without it these tests are skipped.
build/chromium:
	@mkdir -p build
	-command -v chromium || (apt-get update -q && apt-get install -q -y --no-install-recommends chromium)
	@touch $@

# Compilers that need no device: libtpu is 140 MB to download and 480 MB installed, that of GPUs 250 and 580.
test-slow: .venv/.installed build/gpu_compiler build/chromium  ## the long ones: resume after SIGKILL, command lines, calibration, kernels compiled for GPUs and TPUs
	$(RUN) -m pip install --quiet --editable '.[dev,tpu,parity]'
	$(RUN) -m pytest -m "slow and not alone and not exhaustive" -n $(WORKERS) --dist loadfile
	$(RUN) -m pytest -m "slow and alone and not exhaustive"

.venv312/.installed: setup.cfg pyproject.toml
	$(PYTHON312) -m venv .venv312
	.venv312/bin/python -m pip install --quiet --upgrade pip
	.venv312/bin/python -m pip install --quiet --editable '.[dev]' jax==0.11.2 numpy==2.5.2
	@touch $@

ifeq ($(PYTHON312),)
test-312:  ## kernels, benchmarks, tokenizers and short trainings under Python 3.12 with jax 0.11
	@echo "no Python 3.12 here: test-312 was not run; give one as PYTHON312=/path/to/python3.12"
else
test-312: .venv312/.installed
	.venv312/bin/python -m pytest -n $(WORKERS) --dist loadfile tests/kernels tests/benchmarks tests/tokenizers \
		tests/training/test_fit.py tests/training/test_fit_faults.py tests/training/test_latent_set.py \
		tests/training/test_resident.py tests/training/test_stacked.py
endif

test-exhaustive: .venv/.installed  ## what repeats a slow test over more cases: every mesh of eight devices, two processes of the real command
	$(RUN) -m pytest -m exhaustive

lint: .venv/.installed  ## style, layers and types, as CI checks them
	$(RUN) -m ruff format --check --quiet .
	$(RUN) -m ruff check --quiet .
	.venv/bin/lint-imports --no-logo --no-cache
	.venv/bin/basedpyright --project . --pythonpath $(RUN)

docs: .venv/.installed  ## the site, into site/; executes its notebooks, and fails on a broken link
	$(RUN) -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

calibrate: .venv/.installed  ## how well the oracles read ground truth, degraded and corrupted clips
	$(RUN) -m experiments.calibrate --output=outputs/calibration

evaluate: .venv/.installed  ## the shipped weights between their floor and their ceiling
	$(RUN) -m experiments.evaluate --num_prompts=64 --output=outputs/evaluation

clean:
	rm -rf .venv .venv312 build site .cache *.egg-info
