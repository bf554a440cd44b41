# Everything is done from here on a fresh machine: `make demo`, then `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow gpu-check lint clean slurm-up slurm-down

demo: $(READY)
	$(BIN)/var-sweep launch sweeps/depth.yaml
	$(BIN)/var-scaling fit-laws depth
	$(BIN)/var-scaling report depth
	$(BIN)/var-sweep sync depth

test: $(READY)
	sh tests/system-packages.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not chaos"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or chaos" --timeout 3600

# For whoever has a GPU: numbers, speed and memory against what is planned, in at most eight minutes.
gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu_check

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slurm-up:
	$(PYTHON) slurm/local_cluster.py up --install

slurm-down:
	$(PYTHON) slurm/local_cluster.py down

# torch and torchvision first and together, so that they are a matching pair.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "torch>=2.6,<3" "torchvision>=0.21,<1"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
