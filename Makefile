# make demo, make test: both set themselves up first. make install is the set-up alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= einfluence-store

.PHONY: install demo test lint bench docs figure clean

install: $(VENV)/installed

# Modules are compiled when they are first imported, as most never are; what is compiled is kept, whatever is set outside.
export PYTHONDONTWRITEBYTECODE :=

# pip keeps a CPU build of PyTorch that it is pointed to; the constraints are the versions that the tests passed with.
# The newest pip takes half the time of the one that comes with Python 3.11, which is used where there is no newer.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "einfluence needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/einfluence run --store $(STORE) --runner processes --workers 2

# As many processes as there are cores, but not so many that their models and servers fill the memory.
test: install
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --processes 1 einfluence

bench: install
	$(BIN)/python benchmarks/bench_engine.py
	$(BIN)/python -m benchmarks.bench_desiderata
	$(BIN)/python benchmarks/bench_pipeline.py
	$(BIN)/python -m benchmarks.bench_report
	$(BIN)/python -m benchmarks.bench_training

# The README's figure, from the store of `make demo`.
figure: install
	$(BIN)/einfluence figures --out build/figures --store $(STORE) --look auto
	mkdir -p docs/figures
	cp build/figures/scorecard-text.svg docs/figures/scorecard.svg

# Pages that are made from the code, then the site in build/site: all pages as they lie, and an error for every dead link.
PAGES := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE docs examples benchmarks/RESULTS.md data/facts data/models

docs: $(VENV)/docs
	$(BIN)/python docs/build.py
	$(BIN)/python -m einfluence.curate.schema
	$(BIN)/python -m docs.draw_desiderata
	$(BIN)/python -m docs.draw_concepts
	rm -rf build/pages build/site
	mkdir -p build/pages
	tar -c --exclude '*.py' --exclude '*.safetensors' --exclude __pycache__ $(PAGES) | tar -x -C build/pages
	$(BIN)/zensical build --strict --clean

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
