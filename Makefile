# Postrider: `make test` and `make demo` work on a fresh Debian 12 with nothing but Rust and make, as root.

CARGO ?= cargo
# mail-parser declares a newer compiler than it needs; ours is rust-version in Cargo.toml.
CARGO_FLAGS ?= --locked --ignore-rust-version
NEEDS := .ci/install-needs
LISTS := .ci/apt-packages

.PHONY: help test demo deb bench build boot-test install-needs

help:
	@echo 'make test           install what the tests need, build, run all tests (BOOT=no: not the booted one)'
	@echo 'make demo           send a message through a private Postfix and show each station'
	@echo 'make deb            Debian packages in target/debian/'
	@echo 'make bench          comparison with the installed peers (BENCH="sasl --quick": one of them, short)'
	@echo 'make build          all programs in target/release/'
	@echo 'make install-needs  only install the Debian packages that the above need'

install-needs:
	$(NEEDS) $(LISTS)/build $(LISTS)/bench $(LISTS)/deb $(LISTS)/boot tests/apt-packages

# The programs are built first: the tests of one package start the binaries of another.
test:
	$(NEEDS) $(LISTS)/build tests/apt-packages
	$(CARGO) build $(CARGO_FLAGS) --workspace --bins
	$(CARGO) test $(CARGO_FLAGS) --workspace
ifneq ($(BOOT),no)
	$(MAKE) boot-test
endif

boot-test:
	$(NEEDS) $(LISTS)/boot
	@if tests/boot/run --possible; then $(MAKE) deb && timeout 30m tests/boot/run target/debian; fi

demo:
	$(NEEDS) $(LISTS)/build tests/apt-packages
	$(CARGO) build $(CARGO_FLAGS) --workspace --bins
	$(CARGO) run $(CARGO_FLAGS) --quiet -p postrider-tests --bin postrider-demo

build:
	$(NEEDS) $(LISTS)/build
	$(CARGO) build $(CARGO_FLAGS) --release

deb:
	$(NEEDS) $(LISTS)/build $(LISTS)/deb
	packaging/build

bench:
	$(NEEDS) $(LISTS)/build $(LISTS)/bench
	$(CARGO) build $(CARGO_FLAGS) --release
	$(CARGO) build $(CARGO_FLAGS) --release -p postrider-tests --bin milterload --bin authload --bin bench
	target/release/bench $(BENCH)
