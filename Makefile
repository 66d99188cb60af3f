# demo: two commands' worth of everything; annotate: label a category of it in the browser; test, check:
# what CI runs; bench: the measured claims (PARTS="matching metrics": some of them); soak: half an hour of
# labelling by two browsers, with kills.
PYTHON ?= python3.11
BIN := .venv/bin
RUN ?= demo
CORES ?= all
CATEGORY ?= toy/capsule
SNAKEMAKE = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --configfile config/$(RUN).yaml --cores $(CORES)

.PHONY: demo report annotate test check bench soak setup

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,cluster]"
	touch $@

setup: .venv/.done

demo: setup
	$(SNAKEMAKE)
	@$(MAKE) --no-print-directory report RUN=$(RUN)
	@awk 'BEGIN { RS = ""; ORS = "\n\n" } !seen[$$0]++' results/$(RUN)/tables/table*.txt  # a note of many tables once
	@echo "report: $(CURDIR)/results/$(RUN)/report.html"

report: setup
	$(SNAKEMAKE) --report results/$(RUN)/report.html

annotate: setup
	$(BIN)/adclick annotate results/$(RUN)/$(CATEGORY)

table%: setup  # make table4 RUN=small
	$(SNAKEMAKE) $@
	@cat results/$(RUN)/tables/$@.txt

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 8

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python -m tests.lint_workflow

bench: setup
	$(BIN)/python -m benchmarks $(PARTS) --output results/bench.json

soak: setup
	$(BIN)/python -m tests.browser.soak --minutes $(or $(MINUTES),30)
