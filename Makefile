# make demo    a model and a photo in, a native library and a skeleton out
# make test    the fast tests        make test-slow   the others        make lint   formatting, types
# make bench   speed, beside the peers                 make clean        forget what was built
#
# Needs Python 3.10 or later, pip and make; .venv holds the rest.

PYTHON ?= python3
# The torch that is tested. Another one of the extra's range: make TORCH=torch==...
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
C_FILES = $(shell find tvmpose tests examples rpc -name '*.[ch]' 2>/dev/null)

.PHONY: demo test test-slow lint bench clean

demo: .venv/demo.stamp
	mkdir -p build
	cp "$$($(BIN)/tvmpose pull astronaut)" build/astronaut.png
	$(BIN)/tvmpose compile blazepose-full --target host -o build/blazepose-full
	$(BIN)/tvmpose run build/blazepose-full build/astronaut.png --box 20,10,400,800 --draw build/astronaut-pose.png

# worksteal: a worker begins with neighbouring tests, which share what they are made of; durations: what to make smaller
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal --durations 25
test: .venv/dev.stamp
	$(PYTEST)

# 5 is pytest's code for "nothing to run"
test-slow: .venv/dev.stamp
	$(PYTEST) -m slow || [ $$? -eq 5 ]

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

bench: .venv/bench.stamp
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Each stamp adds to the one before, so that the demo does not wait for torch.
.venv/demo.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --editable '.[compiler,verify]'
	touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(PIP) install --quiet --editable '.[compiler,verify,tune,torch,eval,cuda,cuda13,dev]' $(TORCH)
	touch $@

.venv/bench.stamp: .venv/dev.stamp
	$(PIP) install --quiet --editable '.[compiler,verify,tune,torch,eval,cuda,cuda13,dev,bench]' $(TORCH)
	touch $@
