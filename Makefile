# The commands of this repository; `make` or `make help` lists them.
# State is kept in two ignored folders: .venv (Python) and .build (objects, reports, caches).

SHELL := /bin/bash
VENV := .venv
BUILD := .build
PY := $(VENV)/bin/python
# meson-python calls meson and ninja by name: the pinned ones are in the virtual environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

APT_STAMP := $(BUILD)/stamp/apt
VENV_STAMP := $(BUILD)/stamp/venv
BUILD_STAMP := $(BUILD)/stamp/build

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup build check clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: $(APT_STAMP) $(VENV_STAMP) ## install Debian packages and the Python environment (root or sudo)

$(APT_STAMP): requirements/apt.txt tools/setup
	@mkdir -p $(@D)
	@tools/setup apt requirements/apt.txt
	@touch $@

$(VENV_STAMP): $(APT_STAMP) $(wildcard requirements/*.txt) tools/setup
	@mkdir -p $(@D)
	@tools/setup venv $(VENV) requirements
	@touch $@

build: setup ## compile and install Levee into .venv (incremental)
	@tools/build $(VENV) $(BUILD)

clean: ## remove everything that make created, but not Debian packages
	rm -rf $(BUILD) $(VENV)
