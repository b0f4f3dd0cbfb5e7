# The commands of this repository; `make` or `make help` lists them.
# State is kept in ignored folders: .venv (Python), .build (objects, reports, caches), .cache (the guest's trees).

SHELL := /bin/bash
VENV := .venv
BUILD := .build
PY := $(VENV)/bin/python
STAMP := $(BUILD)/stamp
# meson-python calls meson and ninja by name: the pinned ones are in the virtual environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The lab and the guest make namespaces and rules; without root they are run through sudo.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env env "PATH=$$PATH")
# make lab MODE=routed|bridge|host ENGINE=nfqueue CONFIG=FILE
MODE ?= routed
ENGINE ?= auto
CONFIG ?=
TASKS := $(addprefix tests/lab/test_,tasks.py forms.py first_boot.py)

.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-18s %s\n' "$$name" "$$text"; done

demo: build ## clients and a spoofed flood, without and with Levee: live, a table, a plot
	@$(AS_ROOT) $(PY) tests/demo/demo.py

test: build ## everything: check, screens, property, differential, bpf, fuzz, lab and guest tests (under 30 minutes)
	@$(PY) tools/suite.py test

check: build ## format, lint, strict types, import contracts, unit tests (under two minutes)
	@$(PY) tools/suite.py check

test-unit: build ## unit tests
	@$(PY) tools/suite.py unit

test-screens: build ## the terminal interface, compared with its pictures
	@$(PY) tools/suite.py screens

test-property: build ## property tests of parsers and encoders
	@$(PY) tools/suite.py property

test-differential: build ## the engine compared with the readable reference, packet for packet
	@$(PY) tools/suite.py differential

test-bpf: build ## the BPF programs packet by packet, then the bpf engine in the lab, bridge mode
	@$(PY) tools/suite.py bpf

test-fuzz: build ## fuzz targets, a short run
	@$(PY) tools/suite.py fuzz

test-lab: build ## real clients and servers in network namespaces, modes routed and host
	@$(PY) tools/suite.py lab

test-kills: build ## the daemon killed 100 times during 50 downloads, bridge mode with the bpf engine (minutes)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_kills.py --mode bridge --engine bpf --kills 100

test-changes: build ## 1000 reloads and 100 rollbacks during 50 downloads and a flood, both engines (half an hour)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_many_changes.py --mode routed --reloads 1000
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_many_changes.py --mode bridge --engine bpf --reloads 1000

test-load: build ## a million short connections under a flood on each engine, with changing options (an hour)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_load.py --mode routed --connections 1000000
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_load.py --mode bridge --engine bpf \
		--connections 1000000

test-conversations: build ## 10,000 random conversations with the box and without, on each engine (an hour)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_conversations.py --mode routed \
		--conversations 10000
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest -s tests/lab/test_conversations.py --mode bridge --engine bpf \
		--conversations 10000

test-tasks: build ## an operator's tasks, with the keyboard alone, on three terminals and both engines (minutes)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest $(TASKS) --tasks yes --mode routed
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest $(TASKS) --tasks yes --mode bridge --engine bpf

test-guest: build ## the same in bridge mode, on a Debian kernel in QEMU
	@$(PY) tools/suite.py guest

docs: build ## write what is generated: reference pages, manual pages, the schema for editors
	@$(PY) tools/docs.py

test-kernels: build ## the bpf engine on the kernels of Debian 12 (Linux 6.1) and 13 (6.12), in QEMU (minutes)
	@$(PY) tools/suite.py kernels

fuzz-long: build ## fuzz targets, 10 million executions each
	@$(PY) tests/fuzz/run.py --runs 10000000

behaviour: build ## every promise, tested with every engine and mode there is: docs/behaviour.md (an hour and more)
	@$(PY) tools/suite.py unit property differential bpf behaviour; $(PY) tools/behaviour.py

pictures: build ## the screens of the terminal interface as SVG, in tests/screens
	@PYTHONPATH=tests PYTHONSAFEPATH=1 $(PY) -m screens.pictures

bench: build ## what Levee does and costs beside its peers: floods, throughput; tables, JSON, plot (15 minutes)
	@$(AS_ROOT) env PYTHONPATH=tests:tests/lab PYTHONSAFEPATH=1 $(PY) -m bench

lab: build ## bring the lab up and leave it (MODE=routed|bridge|host ENGINE=auto|bpf|nfqueue CONFIG=FILE)
	@$(AS_ROOT) $(PY) tests/lab/lab.py up --mode $(MODE) --engine $(ENGINE) $(if $(CONFIG),--config $(CONFIG))

lab-down: ## take the lab down
	@$(AS_ROOT) /usr/bin/python3 tests/lab/lab.py down

guest: build ## build the guest and bring it up to date with the working tree
	@$(AS_ROOT) tests/guest/guest build

image: build ## the bootable image and its update: .build/image (minutes; root)
	@$(AS_ROOT) image/image build

image-again: build ## build the image of this commit once more, compiling anew, and say what differs (minutes; root)
	@$(AS_ROOT) image/image again

deb: build ## the Debian package for the Debian this runs on: .build/deb
	@image/image deb

deb-test: build ## that package in a minimal Debian: installed, used, taken away (root)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest tests/deb

image-test: build ## that image in QEMU: boot by each firmware, flood, configuration from the stick, updates (minutes; root)
	@$(AS_ROOT) env PYTHONSAFEPATH=1 $(VENV)/bin/pytest tests/image

setup: $(STAMP)/apt $(STAMP)/venv ## install Debian packages and the Python environment (root or sudo)

build: setup ## compile what changed and install it into .venv
	@tools/build $(VENV) $(BUILD)

format: $(STAMP)/venv ## format Python and C in place
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix-only .
	@find cext tests -name '*.[ch]' -print0 | xargs -0 --no-run-if-empty clang-format-19 -i

clean: ## remove what make created here; Debian packages stay
	rm -rf $(BUILD) $(VENV)
	@[ ! -e .cache ] || $(AS_ROOT) rm -rf .cache

$(STAMP)/apt: requirements/apt.txt tools/setup
	@mkdir -p $(@D)
	@tools/setup apt requirements/apt.txt
	@touch $@

$(STAMP)/venv: $(STAMP)/apt $(wildcard requirements/*.txt) tools/setup
	@tools/setup venv $(VENV) requirements
	@touch $@

.PHONY: help demo test check test-unit test-screens test-property test-differential test-bpf test-fuzz test-lab test-kills \
	test-changes test-load test-conversations test-tasks test-guest test-kernels docs fuzz-long behaviour pictures bench lab lab-down guest image image-again image-test deb deb-test \
	setup build format clean
