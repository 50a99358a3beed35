# One word each. `make demo` and `make test` are all a newcomer needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN ?= out/pocket
PRECISION ?= bfloat16
WORKERS ?= 2
CHROMIUM ?= chromium
METHOD ?= ip_adapter
N ?= 200
QUICK_TESTS := tests/test_methods.py tests/test_rooms.py tests/tools tests/engine/test_attach.py tests/core/test_concept.py

.PHONY: demo test test-all test-quick browser screenshots check wheel fuzz proofs kills bench bench-quick tune docs pocket weights pretrain clean

demo: $(VENV)/ready          ## teach a toy from four pictures and paint it: out/demo/
	$(BIN)/limner demo --out out/demo

test: $(VENV)/ready          ## all tests but the sweeps, WORKERS at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not sweep and not browser"

test-all: $(VENV)/ready      ## every test but the browser's; takes more than twice as long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not browser"

browser: $(VENV)/ready       ## the studio in Chromium, from photographs to an exported concept; Debian, as root: installs Chromium
	@command -v $(CHROMIUM) >/dev/null || { apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium; } \
		|| { echo "no $(CHROMIUM) here: install Chromium (Debian, as root: apt-get install chromium), or name a browser: make browser CHROMIUM=google-chrome" >&2; exit 1; }
	LIMNER_CHROMIUM=$$(command -v $(CHROMIUM)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m browser tests/browser

screenshots: $(VENV)/ready   ## the pictures of docs/studio.md
	$(BIN)/python -m tests.browser.screenshots

test-quick: $(VENV)/ready    ## five representative methods and the plan of the rooms, in two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not every_method" $(QUICK_TESTS)

check: $(VENV)/ready         ## format, lint, size, freshness, language, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tools.size
	$(BIN)/python -m tools.fresh
	$(BIN)/python -m tools.language
	$(BIN)/mypy

wheel:                       ## build the wheel, install it into an empty environment, run its demo there (QUICK=1: one picture)
	PYTHON=$(PYTHON) sh tools/try_wheel.sh

fuzz: $(VENV)/ready          ## N hostile inputs, counted: results/fuzz.json
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(N)

proofs: $(VENV)/ready        ## what tests show of bases and files: results/proofs.json, for docs/
	rm -f results/proofs.json
	OMP_NUM_THREADS=1 LIMNER_PROOFS=1 $(BIN)/python -m pytest -n $(WORKERS) tests/bases tests/formats
	$(MAKE) fuzz N=10000
	$(MAKE) docs

kills: $(VENV)/ready        ## kill commands N times at random moments: what is lost: results/kills.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py --count $(N) --out results/kills.json

bench: $(VENV)/ready         ## every method on three held-out toys: results/bench.json; runs what is missing
	$(BIN)/limner bench --workers 2
	$(BIN)/limner report

bench-quick: $(VENV)/ready   ## the same, small: out/quick.json
	$(BIN)/limner bench --size quick --workers 2 --results out/quick.json
	$(BIN)/limner report out/quick.json --out out/quick.html

tune: $(VENV)/ready          ## the defaults of all methods that train on each object, after a new base: results/tuned.json
	$(BIN)/limner tune --workers 2 --write

docs: $(VENV)/ready          ## the generated parts of README and docs/
	$(BIN)/python -m docs.generate
	$(BIN)/python -m tools.fresh --write

pocket: $(VENV)/ready        ## train the pocket base and its judges; resumable, RUN=folder
	$(BIN)/python -m training.pocket --run $(RUN) --precision $(PRECISION)
	$(MAKE) weights

weights: $(VENV)/ready       ## train anew what every method starts from: after a new base
	set -e; for name in $(basename $(notdir $(wildcard src/limner/pocket/weights/methods/*))); do $(BIN)/limner pretrain $$name --precision $(PRECISION); done

pretrain: $(VENV)/ready      ## train the weights a method starts from on the pocket base; resumable, METHOD=name
	$(BIN)/limner pretrain $(METHOD) --precision $(PRECISION)

clean:
	rm -rf $(VENV) out build dist

# torch comes first and pinned, so that nothing pulls a build for another machine
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
