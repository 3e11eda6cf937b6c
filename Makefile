# Two commands set everything up and do everything: `make demo` and `make test`.
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := $(UV) run --quiet

.PHONY: demo test lint docs gpu-check setup clean

demo: setup ## the whole method on built-in phantoms, against the Grad-CAM baseline
	@echo "Training UM-CAM+SPL and its Grad-CAM baseline on built-in phantoms: about 3 minutes on 2 fast cores."
	$(RUN) camtools ablate bundles/umcam/configs/train.yaml --output-dir runs/demo --methods gradcam,umcam+spl

test: setup lint ## lint, types, tests
	$(RUN) pytest -n auto --dist loadgroup --no-loadscope-reorder

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: setup ## the documentation in site/; a warning is an error
	$(RUN) --group docs sphinx-build --fresh-env --quiet --fail-on-warning --keep-going docs site

gpu-check: setup ## what only a GPU can show, in one table in runs/gpu-check/; under 8 minutes on one GPU
	$(RUN) python benchmarks/gpu_check.py

setup: $(UV) ## the environment in .venv
	@test -d .venv || echo "Setting up .venv: uv downloads and compiles packages, 8 GB on disk with CUDA, in 5 to 10 minutes."
	@UV_COMPILE_BYTECODE=1 $(UV) sync

.uv/bin/uv:
	@echo "Installing uv into .uv, because it was not found on the path."
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv

clean:
	rm -rf .venv .uv runs site bundles/*/output bundles/*/models
