# `make` builds the library and the examples, `make test` tests, `make install PREFIX=..` installs.
# Cargo knows what is stale in Rust, so it is always asked; the C programs are make's business.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=

ifeq ($(origin CC),default)
CC := gcc
endif
CARGO ?= cargo
CFLAGS ?= -O2 -g

VERSION := $(shell sed -n '/^version/{s/.*"\(.*\)".*/\1/p;q}' Cargo.toml)
SO := libasyncio.so
# The ABI's version, which programs record. build.rs puts the same name into the library.
SONAME := $(SO).0
REAL := $(SO).$(VERSION)
LIB := build/lib/$(REAL)

EXAMPLES := $(patsubst %.c,build/%,$(wildcard c-examples/*.c))
C_TESTS := $(patsubst %.c,build/%,$(wildcard tests/c/*.c))
# What the scripts that drive the examples are helped by.
TOOLS := $(patsubst %.c,build/%,$(wildcard tests/examples/*.c))
# The malloc of a column of theirs. It must be called for what it does, not for what malloc should do.
GUARD := build/tests/guard.so
# What works while the system's calls are made to fail.
FAULTS := build/tests/faults/work
# The peers and the load generator know nothing of the library.
BENCHES := $(patsubst benches/servers/%.c,build/bench/%,$(wildcard benches/servers/*.c))

C_FLAGS = -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror $(CFLAGS) -Iinclude -pthread
# Programs find the library from where they lie in build/, wherever the tree is moved.
LINK = -Lbuild/lib -Wl,-rpath,'$$ORIGIN/../lib:$$ORIGIN/../../lib' -lasyncio $(LDFLAGS)

# The fuzz target: with a driver of its own, and with libFuzzer, which wants a library of its own.
FUZZ := $(filter-out tests/fuzz/replay.c tests/fuzz/libfuzzer.c,$(wildcard tests/fuzz/*.c))
FUZZ_TRIPLE := $(shell uname -m)-unknown-linux-gnu
FUZZ_LIB := target/fuzz/$(FUZZ_TRIPLE)/release/libasyncio.a
# Coverage counters and AddressSanitizer are unstable options of a stable compiler. No LTO, since it would drop the
# counters of what it inlines; a panic is a failure.
FUZZ_RUST := RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_PANIC=abort \
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
	RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares"

.PHONY: all lib examples c-tests run test simulate soak mutants lint bench bench-servers bench-files bench-timers header install uninstall clean
all: lib examples
lib: $(LIB)
examples: $(EXAMPLES)
c-tests: $(C_TESTS) $(TOOLS) $(FAULTS) $(GUARD)

# Without cargo at hand (`sudo make install`) a library that was built before is good enough.
ifneq ($(and $(wildcard $(LIB)),$(if $(shell command -v $(CARGO)),,none)),)
FORCE_CARGO :=
else
FORCE_CARGO := FORCE
endif

# Two crate types instead of Cargo.toml's three: with an rlib among them rustc gets no LTO. The
# target directory is its own, since `cargo build --release` would put the slower one in its place.
$(LIB): $(FORCE_CARGO)
	+$(CARGO) rustc --release --lib --crate-type cdylib,staticlib --target-dir target/c
	@mkdir -p $(@D)
	@for f in libasyncio.a:libasyncio.a $(SO):$(REAL); do \
		from=target/c/release/$${f%:*} to=$(@D)/$${f#*:}; \
		cmp -s $$from $$to || cp --remove-destination $$from $$to || exit; \
	done
	@ln -sf $(REAL) $(@D)/$(SONAME)
	@ln -sf $(SONAME) $(@D)/$(SO)

FORCE:

$(EXAMPLES) $(C_TESTS) $(FAULTS): build/%: %.c $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(LINK)

build/tests/fuzz/replay: $(FUZZ) tests/fuzz/replay.c $(wildcard tests/fuzz/*.h) $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(LINK)

build/tests/fuzz/calls: $(FUZZ) tests/fuzz/libfuzzer.c $(wildcard tests/fuzz/*.h) FORCE Makefile
	@mkdir -p $(@D)
	+$(FUZZ_RUST) $(CARGO) rustc --release --lib --crate-type staticlib --target $(FUZZ_TRIPLE) --target-dir target/fuzz
	clang $(C_FLAGS) -fsanitize=fuzzer,address -o $@ $(filter %.c,$^) $(FUZZ_LIB) -ldl -lm

$(TOOLS): build/%: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)

$(GUARD): tests/sanitize/guard.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -fno-builtin -shared -fPIC -o $@ $< $(LDFLAGS)

$(BENCHES): build/bench/%: benches/servers/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)

# Readers of files. libuv's only where it is.
FILE_BENCHES := build/bench/ring_read build/bench/rt_read
ifneq ($(shell pkg-config --exists libuv && echo yes),)
FILE_BENCHES += build/bench/uv_read
build/bench/uv_read: C_FLAGS += $(shell pkg-config --cflags libuv)
build/bench/uv_read: PEER := $(shell pkg-config --libs libuv)
endif
build/bench/rt_read: PEER = $(LINK)
build/bench/rt_read: $(LIB)

$(FILE_BENCHES): build/bench/%: benches/files/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(PEER) $(LDFLAGS)

# Timers. libuv's only where it is.
TIMER_BENCHES := build/bench/rt_timers
ifneq ($(shell pkg-config --exists libuv && echo yes),)
TIMER_BENCHES += build/bench/uv_timers
build/bench/uv_timers: C_FLAGS += $(shell pkg-config --cflags libuv)
build/bench/uv_timers: PEER := $(shell pkg-config --libs libuv)
endif
build/bench/rt_timers: PEER = $(LINK)
build/bench/rt_timers: $(LIB)

$(TIMER_BENCHES): build/bench/%: benches/timers/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(PEER) $(LDFLAGS)

-include $(TIMER_BENCHES:=.d) $(FILE_BENCHES:=.d) $(EXAMPLES:=.d) $(C_TESTS:=.d) $(TOOLS:=.d) $(FAULTS:=.d) $(BENCHES:=.d)

run: build/c-examples/echo_server
	@c-examples/demo.sh $<

test: all c-tests
	@tests/run

# SIM_SECONDS=n says for how long, SIM_FIRST=n from which seed on; SEED=n replays one.
simulate:
	@tests/run simulate

# What takes longer. MINUTES=n says for how long.
MINUTES ?= 60
soak: all c-tests
	@tests/soak $(MINUTES)

# One small change of the code at a time, and whether a test notices; ARGS as tests/mutants/run has them.
mutants:
	@tests/mutants/run $(ARGS)

lint:
	@tests/run format clippy clippy_tracing

# ARGS as criterion has them: a name, --quick, --test ..
bench:
	$(CARGO) bench -p asyncio-bench -- $(ARGS)
	@if command -v python3 > /dev/null; then benches/micro/table; else echo "no table: python3 is not installed"; fi

bench-servers: examples $(BENCHES)
	benches/servers/compare

bench-files: $(FILE_BENCHES)
	benches/files/compare

bench-timers: $(TIMER_BENCHES)
	benches/timers/compare

header:
	ASYNCIO_BLESS=1 $(CARGO) test --test header

lib_to := $(DESTDIR)$(LIBDIR)
include_to := $(DESTDIR)$(INCLUDEDIR)
installed_headers := asyncio.h asyncio_await.h

install: $(LIB)
	install -d $(lib_to)/pkgconfig $(include_to)
	install -m 755 $(LIB) $(lib_to)/$(REAL)
	ln -sf $(REAL) $(lib_to)/$(SONAME)
	ln -sf $(SONAME) $(lib_to)/$(SO)
	install -m 644 build/lib/libasyncio.a $(lib_to)/libasyncio.a
	install -m 644 $(addprefix include/,$(installed_headers)) $(include_to)
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' \
		-e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
		-e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
		asyncio.pc.in > $(lib_to)/pkgconfig/asyncio.pc
	chmod 644 $(lib_to)/pkgconfig/asyncio.pc

uninstall:
	rm -f $(addprefix $(lib_to)/,$(REAL) $(SONAME) $(SO) libasyncio.a pkgconfig/asyncio.pc)
	rm -f $(addprefix $(include_to)/,$(installed_headers))

clean:
	rm -rf build
	$(CARGO) clean
