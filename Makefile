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

EXAMPLES := $(patsubst %.c,build/%,$(filter-out c-examples/tls_echo.c,$(wildcard c-examples/*.c)))
# One that has several files.
KV := build/c-examples/kv_server
C_TESTS := $(patsubst %.c,build/%,$(wildcard tests/c/*.c))
# What the scripts that drive the examples are helped by.
TOOLS := $(patsubst %.c,build/%,$(wildcard tests/examples/*.c))
# The malloc of a column of theirs. It must be called for what it does, not for what malloc should do.
GUARD := build/tests/guard.so
# What works while the system's calls are made to fail.
FAULTS := build/tests/faults/work

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

.PHONY: all lib examples neighbours c-tests run test simulate soak mutants lint bench bench-servers bench-files bench-timers bench-http bench-kv bench-counts bench-report header install uninstall clean
all: lib examples
lib: $(LIB)
examples: $(EXAMPLES) $(KV) neighbours
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

$(filter-out build/c-examples/http_server,$(EXAMPLES)) $(C_TESTS) $(FAULTS): build/%: %.c $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(LINK)

# What stands on somebody else's library is built where pkg-config knows that.
NEIGHBOURS :=
define neighbour # program, package, what it is made of beside its own source
ifneq ($$(shell pkg-config --exists $(2) 2> /dev/null && echo yes),)
NEIGHBOURS += build/$(1)
build/$(1): C_FLAGS += $$(shell pkg-config --cflags $(2))
build/$(1): PEER := $$(shell pkg-config --libs $(2))
build/$(1): $(3)
endif
endef
beside := c-examples/neighbours
$(eval $(call neighbour,c-examples/tls_echo,openssl))
$(eval $(call neighbour,$(beside)/curl_get,libcurl,$(beside)/curl.c $(beside)/answer.c))
$(eval $(call neighbour,$(beside)/redis_ask,hiredis,$(beside)/redis.c $(beside)/answer.c))
$(eval $(call neighbour,$(beside)/pg_ask,libpq,$(beside)/pg.c))
$(eval $(call neighbour,$(beside)/dns_lookup,libcares,$(beside)/cares.c $(beside)/answer.c))

$(NEIGHBOURS): build/%: %.c $(wildcard include/*.h c-examples/*.h $(beside)/*.h) $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(PEER) $(LINK)

# After the above, which adds to it.
neighbours: $(NEIGHBOURS)

# The parser of http_server is a crate. Each library has what it needs of Rust's, and shows none of it.
HTTP := $(wildcard c-examples/http/*.c)
HTTPARSE := target/c/release/libasyncio_httparse.a

$(HTTPARSE): c-examples/httparse/src/lib.rs c-examples/httparse/Cargo.toml Cargo.lock
	+$(CARGO) build --release -p asyncio-httparse --target-dir target/c
	@touch $@

build/c-examples/http_server: c-examples/http_server.c $(HTTP) $(wildcard c-examples/http/*.h) \
		c-examples/options.h $(wildcard include/*.h) $(HTTPARSE) $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(HTTPARSE) $(LINK)

$(KV): $(wildcard c-examples/kv/*.[ch]) c-examples/options.h $(LIB) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(LINK) -lm

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

# Whose libraries are here: that is what the others are built for. libev has no file for pkg-config everywhere.
has_package = $(shell pkg-config --exists $(1) 2> /dev/null && echo yes)
has_header = $(shell echo '\#include <$(1)>' | $(CC) -E -o /dev/null - 2> /dev/null && echo yes)

SERVER_BENCHES := $(addprefix build/bench/,load epoll_echo uring_echo)
FILE_BENCHES := $(addprefix build/bench/,ring_read rt_read)
TIMER_BENCHES := build/bench/rt_timers
ifeq ($(call has_package,libuv),yes)
UV_BENCHES := $(addprefix build/bench/,uv_streams_echo uv_write_echo uv_poll_echo uv_read uv_timers)
$(UV_BENCHES): PEER := $(shell pkg-config --cflags --libs libuv)
SERVER_BENCHES += $(filter %_echo,$(UV_BENCHES))
FILE_BENCHES += build/bench/uv_read
TIMER_BENCHES += build/bench/uv_timers
endif
ifeq ($(call has_package,libevent_core),yes)
build/bench/event_echo build/bench/event_write_echo build/bench/event_timers: PEER := $(shell pkg-config --cflags --libs libevent_core libevent_extra)
SERVER_BENCHES += build/bench/event_echo build/bench/event_write_echo
TIMER_BENCHES += build/bench/event_timers
endif
ifeq ($(call has_header,ev.h),yes)
build/bench/ev_echo build/bench/ev_timers: PEER := -lev
SERVER_BENCHES += build/bench/ev_echo
TIMER_BENCHES += build/bench/ev_timers
endif
RT_BENCHES := $(addprefix build/bench/,rt_read rt_timers objects)
$(RT_BENCHES): PEER = $(LINK)
$(RT_BENCHES): $(LIB)
BENCHES := $(SERVER_BENCHES) $(FILE_BENCHES) $(TIMER_BENCHES) build/bench/objects

# What counts has a malloc that counts, and a program that makes what is counted.
COUNT_BENCHES := build/bench/heap.so build/bench/aligned.so build/bench/objects

build_bench = @mkdir -p $(@D); $(CC) $(C_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(PEER) $(LDFLAGS)
$(SERVER_BENCHES): build/bench/%: benches/servers/%.c Makefile
	$(build_bench)
$(FILE_BENCHES): build/bench/%: benches/files/%.c Makefile
	$(build_bench)
$(TIMER_BENCHES): build/bench/%: benches/timers/%.c Makefile
	$(build_bench)

build/bench/objects: benches/counts/objects.c Makefile
	$(build_bench)
build/bench/%.so: benches/counts/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -fno-builtin -shared -fPIC -o $@ $< $(LDFLAGS)

# tokio's. Cargo knows whether it is stale; where tokio cannot be had, it is left out.
.PHONY: tokio-echo
tokio-echo:
	-$(CARGO) build --release -p tokio-echo
	@mkdir -p build/bench
	@! test -x target/release/tokio-echo || cp -u --remove-destination target/release/tokio-echo build/bench/tokio-echo

-include $(EXAMPLES:=.d) $(C_TESTS:=.d) $(TOOLS:=.d) $(FAULTS:=.d) $(BENCHES:=.d)

run: build/c-examples/http_server
	@$< --root . --demo

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

# The scripts that measure, count and report. They find out for themselves what else is not here.
.PHONY: python
python:
	@command -v python3 > /dev/null || { echo "python3 is not installed, and measuring takes it" >&2; exit 1; }

bench-servers: python examples $(SERVER_BENCHES) tokio-echo
	benches/servers/compare

bench-files: python $(FILE_BENCHES)
	benches/files/compare

bench-timers: python $(TIMER_BENCHES)
	benches/timers/compare

bench-http: build/c-examples/http_server
	benches/http/compare

bench-kv: $(KV)
	benches/kv/compare

bench-counts: python examples $(SERVER_BENCHES) $(COUNT_BENCHES) tokio-echo
	benches/counts/run

# From whatever was measured so far.
bench-report: python
	benches/report

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
