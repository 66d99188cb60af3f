# demo: two commands' worth of everything; annotate: label a category of it in the browser; test, check:
# what CI runs; peers: the environment of anomalib; test-fast: what needs neither Snakemake nor a browser and is quick; bench: the measured claims
# (PARTS="matching metrics": some of them); fuzz: thousands of damaged files; soak: half an hour of labelling by two browsers, with kills;
# kills: runs that are killed 40 times, compared with undisturbed ones; sizes: every stage at the paper's sizes, one step.
BIN := .venv/bin
RUN ?= demo
CORES ?= all
CATEGORY ?= toy/capsule
PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"
SNAKEMAKE = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --configfile config/$(RUN).yaml --cores $(CORES)

# The newest Python that works, or PYTHON=...; 3.14 comes last, because one package is compiled there.
PYTHONS := python3.13 python3.12 python3.11 python3.14 python3
FIND = for one in $(or $(PYTHON),$(PYTHONS)); do "$$one" tools/usable_python.py && echo "$$one" && break; done 2>/dev/null
NONE = $(or $(PYTHON),python3) is not Python 3.11, 3.12, 3.13, or 3.14 beside a C compiler, with venv; to have one: \
sudo apt install python3-venv python3-dev gcc (Debian 12, Ubuntu 24.04 or newer), sudo dnf install python3.13 (Fedora), \
or anywhere conda create -n adclick python=3.13 && conda activate adclick
CHOSEN = $(or $(shell $(FIND)),$(error $(NONE)))

.PHONY: peers demo report annotate test test-fast check docs bench fuzz soak kills sizes setup python

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,cluster,onnx,docs]"
	touch $@

$(BIN)/python:
	$(CHOSEN) -m venv --clear .venv

python:  # which one `make setup` takes
	@echo $(CHOSEN)

# anomalib, beside the packages that are there already, so that PyTorch is not downloaded a second time.
peers: setup .venv-anomalib/.done

.venv-anomalib/.done: workflow/envs/anomalib.txt
	$(BIN)/python -m venv --clear .venv-anomalib
	$(BIN)/python -c $(PURELIB) > $$(.venv-anomalib/bin/python -c $(PURELIB))/adclick.pth
	.venv-anomalib/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

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

test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not workflow and not browser and not slow"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python -m tools.lint_workflow
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup  # the documentation as a site: results/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks $(PARTS) --output results/bench.json

fuzz: setup
	ADCLICK_FUZZ=$(or $(FUZZ),2600) $(BIN)/python -m pytest -q -rP tests/test_fuzz.py

soak: setup
	$(BIN)/python -m tools.browser.soak --minutes $(or $(MINUTES),30)

kills: setup
	$(BIN)/python -m tools.kills --kills $(or $(KILLS),40) $(if $(filter command%,$(origin RUN)),--$(RUN))

sizes: setup
	ADCLICK_PAPER_SIZES=1 $(BIN)/python -m pytest -n 0 -v -s tests/commands/test_paper_sizes.py
