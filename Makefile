# The two commands of this project: `make` and `make test`.
#
# Works with GNU make and with NetBSD's make (bmake); it has only
# plain rules.  Everything happens in .venv and build/.

PYTHON=		python3
MODULE=		vmt
RELEASE=	11.0
MACHINE=	amd64
SEEDS=		2000
SAMPLE=		60
LARGEST=	100
QUICK=
PAGE=
NETBSD_SYS?=

VENV=		.venv
RUN=		$(VENV)/bin/python -m
STAMP=		$(VENV)/.complete
KNOWN_RACES=	kmod/$(MODULE)/known-races.yaml
FILE=		build/$(RELEASE)/$(MACHINE:evbarm=aarch64)/$(MODULE).kmod

all: env
	@$(RUN) vmtgen generate --quiet
	@$(RUN) vmtgen build --module $(MODULE) --release $(RELEASE) --machine $(MACHINE)
	@$(RUN) vmtgen lint $(FILE)
	@$(RUN) vmtsim run --summary $(FILE)

env: $(STAMP)

$(STAMP): pyproject.toml tools/environment.sh
	@sh tools/environment.sh "$(PYTHON)" $(VENV)

generate: env
	$(RUN) vmtgen generate
	$(RUN) vmtctl.manual >userland/vmtctl.8.new
	@mv userland/vmtctl.8.new userland/vmtctl.8
	@mkdir -p userland/completions
	@for shell in bash fish zsh; do \
		$(RUN) vmtctl completion $$shell >userland/completions/vmtctl.new && \
		mv userland/completions/vmtctl.new userland/completions/vmtctl.$$shell || exit 1; \
	done
	$(VENV)/bin/python pkgsrc/update_plist.py

build: env
	$(RUN) vmtgen build --module $(MODULE) --release $(RELEASE) --machine $(MACHINE)

lint: build
	$(RUN) vmtgen lint $(FILE)

run: build
	$(RUN) vmtsim run $(FILE)

test: env
	$(RUN) pytest -q -n 2 --dist worksteal

coverage: env
	rm -rf build/coverage
	mkdir -p build/coverage
	$(RUN) coverage run -m pytest -q -n 2 --dist worksteal
	$(RUN) coverage combine -q
	@$(RUN) tests.coverage_table

bench: env
	-@$(VENV)/bin/python -c 'import matplotlib' 2>/dev/null || \
	    sh tools/environment.sh "$(PYTHON)" $(VENV) bench
	@$(RUN) bench $(QUICK:1=--quick) --seeds $(LARGEST) $(BASE:%=--base %) $(PAGE:%=--page %)

soak: build
	@$(RUN) tests.sim.mutants.canary build/canary
	$(RUN) vmtsim campaign $(FILE) --seeds 1:$(SEEDS) --all-sometimes \
	    --canary build/canary/vmt.kmod --json build/soak.json --html build/soak.html
	$(RUN) tests.driver.soak
	$(RUN) tests.driver.anywhere
	$(RUN) tests.vmmemctl.anywhere
	$(RUN) tests.driver.walks
	$(RUN) vmtsim campaign $(FILE) --seeds 1:$(SEEDS) --cpus 2 --races --preempt 3 --all-sometimes \
	    $$(test ! -f $(KNOWN_RACES) || echo --known-races $(KNOWN_RACES)) --json build/soak-races.json
	$(RUN) tests.sim.race_cases --seeds 1000
	$(RUN) tests.gen.every_entry
	$(RUN) tests.gen.every_number
	$(RUN) tests.loader.random_mutants
	$(RUN) tests.loader.mutants
	$(RUN) tests.userland.soak

modules: env
	@test -z "$(NETBSD_SYS)" || $(RUN) tools.netbsd_modules "$(NETBSD_SYS)" --page docs/netbsd-modules.md
	@test -n "$(NETBSD_SYS)" || echo "skipped: no source tree: make modules NETBSD_SYS=/usr/src/sys"

mutants: env
	$(RUN) tests.sim.mutants

mutants-python: env
	$(RUN) tests.mutation --sample $(SAMPLE)

analyze: env
	$(RUN) tests.kmod.c_checks

pictures: build
	$(RUN) vmtsim run $(FILE) --svg docs/conversation.svg >/dev/null

dist: env
	$(RUN) vmtgen dist

# PKG_INSTALL is the directory of NetBSD's pkg_add and the others.
check-packages: env
	PKG_INSTALL=$(PKG_INSTALL) $(RUN) pytest -q -rs tests/gen/module/test_packages.py

# Debian's real cloud-init, unpacked below build/, through vmtctl's vmware-rpctool.
check-cloud-init: env
	CLOUD_INIT=build/cloud-init $(RUN) pytest -q -rs tests/userland/test_cloud_init.py

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf $(VENV)

help:
	@echo "make            generate, build, lint and run $(MODULE).kmod"
	@echo "make test       all tests (UPDATE_GOLDEN=1 renews the golden files)"
	@echo "make coverage   which lines of the Python the tests run"
	@echo "make generate   what follows from specs and code: kmod/, PROTOCOL.md, vmtctl.8, PLIST"
	@echo "make build      $(FILE)"
	@echo "make lint       load errors of it, and likely problems"
	@echo "make run        the whole conversation with a simulated VMware"
	@echo "make bench      figures of this machine (QUICK=1, LARGEST=$(LARGEST), BASE=COMMIT, PAGE=FILE)"
	@echo "make soak       thousands of seeds with faults (SEEDS=$(SEEDS))"
	@echo "make modules    modules of NetBSD's own tree: built? what do they need? (NETBSD_SYS=DIR)"
	@echo "make mutants    the driver with planted defects: which go unnoticed?"
	@echo "make mutants-python  the same with a part of the Python (SAMPLE=$(SAMPLE))"
	@echo "make analyze    clang -Weverything, clang's and gcc's analyzers on the C"
	@echo "make pictures   docs/conversation.svg"
	@echo "make dist       dist/: packages and an archive for each release and machine"
	@echo "make check-packages  the packages by NetBSD's pkg_add (PKG_INSTALL=DIR)"
	@echo "make check-cloud-init  Debian's cloud-init, fetched and not installed, with vmware-rpctool"
	@echo "make clean      remove what was built; make distclean: and .venv"
	@echo "variables:      MODULE=$(MODULE) RELEASE=$(RELEASE) MACHINE=$(MACHINE) PYTHON=$(PYTHON)"

.PHONY: all env generate build lint run test coverage bench soak modules mutants mutants-python analyze \
    pictures dist check-packages check-cloud-init clean distclean help
