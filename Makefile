# `make demo` and `make test` each set up all they need; a second run skips what is done.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# uv when it is there, else the standard library's venv and pip
UV     := $(shell command -v uv 2>/dev/null)

ifdef UV
create  = $(UV) venv --quiet --python $(PYTHON) $(VENV)
install = $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt
else
create  = $(PYTHON) -m venv $(VENV)
install = $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
endif

.PHONY: demo test docs drill browse clean

demo: $(VENV)/.installed
	@$(BIN)/tidecast run --home .tidecast-demo

test: $(VENV)/.installed-dev   ## processes that tests start read what the first one compiled, also where nothing is to be kept
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

docs: $(VENV)/.installed-dev   ## the docs as a site in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open site/index.html"

drill: $(VENV)/.installed-dev   ## kill the daily run at every write and racing writers at random moments, compare tables
	$(BIN)/python -m tests.drill
	$(BIN)/python -m tests.races

browse: $(VENV)/.installed-dev   ## look at MLflow's pages in a headless Chromium (chromium, chromium-driver); pictures in build/pages
	$(BIN)/python -m tests.browse build/pages

clean:
	rm -rf $(VENV) .tidecast-demo build site *.egg-info

# torch goes in first, at exactly the constraint's version: a looser request may bring gigabytes of CUDA
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; one to three minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, found " + sys.version.split()[0] + ": set PYTHON=python3.x")'
	@test -x $(BIN)/python || $(create)
	@$(install) "$$(grep '^torch==' constraints.txt)"
	@$(install) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(install) -e ".[dev]"
	@touch $@
