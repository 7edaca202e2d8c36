# Targets of the project; `make` alone lists them. Every target sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := shared services gateway training tests deploy
HOST ?=
PORT ?=
URL ?=
WORKDIR ?= var/stack
PORTRAIT ?= tests/data/portrait.jpg
SPEECH ?= tests/data/speech.flac
OUT ?= demo.mp4
TRAIN_MINUTES ?= 40
CORPUS_ARGS ?=
BUNDLE ?= liveportrait
ARGS ?=
ARGS ?=

# Tools of the environment last on PATH; libraries that setup unpacked because it was not root (known after setup only).
WITH_ENV = export PATH="$$PATH:$(abspath $(BIN))"; libs=$(abspath $(VENV))/system-libs; \
	if [ -e "$$libs" ]; then export LD_LIBRARY_PATH="$$libs$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"; fi;

.DEFAULT_GOAL := help
.PHONY: help setup fmt lint test test-fast up demo page weights bench bench-renderer smoke train clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install everything (TH_TORCH_INDEX picks the torch build)

$(READY): pyproject.toml constraints.txt deploy/setup.sh
	VENV=$(VENV) sh deploy/setup.sh

fmt: $(READY) ## format the code and apply safe fixes
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lint: $(READY) ## check format, ruff, mypy and import contracts
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

test: $(READY) ## run every test in two processes (ARGS=-n0: in one): real Redis, Celery, workers and whole jobs included
	@sh deploy/prometheus.sh
	@sh deploy/browser.sh
	@$(WITH_ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-fast: $(READY) ## run the inner loop: no processes, under a minute
	@$(WITH_ENV) $(BIN)/python -m pytest -m "not redis and not slow and not stack" $(ARGS)

up: $(READY) ## start the whole stack here (HOST, PORT, WORKDIR); Ctrl-C stops it
	@$(WITH_ENV) $(BIN)/talkinghead up $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) --workdir $(WORKDIR) $(ARGS)

demo: $(READY) ## animate the sample portrait into demo.mp4 (PORTRAIT, SPEECH, OUT)
	@$(WITH_ENV) $(BIN)/talkinghead animate $(PORTRAIT) $(SPEECH) -o $(OUT) $(ARGS)

weights: $(READY) ## pull published weights (BUNDLE), check them and convert them once
	@$(WITH_ENV) $(BIN)/talkinghead weights pull $(BUNDLE) $(ARGS)

page: $(READY) ## a page to try it in a browser (HOST, PORT, URL of a running gateway); Ctrl-C stops it
	@$(WITH_ENV) $(BIN)/talkinghead demo $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(URL),--url $(URL))

bench: $(READY) ## measure the whole stack on this machine
	@$(WITH_ENV) $(BIN)/python -m tests.benchmarks.bench_stages
	@$(WITH_ENV) $(BIN)/python -m tests.benchmarks.bench_motion
	@$(WITH_ENV) $(BIN)/python -m tests.benchmarks.bench_job $(ARGS)

smoke: $(READY) ## prove docker-compose.yml on a Docker engine: build, run, kill, measure, tear down (10 to 40 minutes)
	PYTHON=$(BIN)/python sh deploy/smoke.sh

bench-renderer: $(READY) ## measure the liveportrait renderer: networks, pipeline, batches (ARGS=--profile writes docs)
	@$(WITH_ENV) $(BIN)/python -m tests.benchmarks.bench_liveportrait $(ARGS)

train: $(READY) ## make the corpus, train both models, export them (hours; TRAIN_MINUTES each, data in .cache)
	sh deploy/speech_engines.sh
	$(BIN)/python -m training.corpus $(CORPUS_ARGS)
	$(BIN)/python -m training.train_encoder --minutes $(TRAIN_MINUTES)
	$(BIN)/python -m training.train_encoder --export
	$(BIN)/python -m training.features
	$(BIN)/python -m training.train --data .cache/motion --run .cache/run --minutes $(TRAIN_MINUTES)
	$(BIN)/python -m training.export --run .cache/run --embedded

clean: ## remove .venv, caches and what the stack wrote (training keeps its data in .cache)
	rm -rf $(VENV) .cache/system .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist *.egg-info var demo.mp4
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
