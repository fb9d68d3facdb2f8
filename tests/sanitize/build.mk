# The library and the C tests with a sanitizer in both, linked into one program each:
#
#     make -f tests/sanitize/build.mk SANITIZER=asan
#
# The runtime is the one that comes with rustc, and knows UndefinedBehaviorSanitizer's reports too.
# The standard library is as it was delivered: only ours, and what it depends on, is instrumented.

SANITIZER ?= asan
CARGO ?= cargo
CLANG ?= clang

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
RUNTIME := $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(HOST)/lib/librustc-*_rt.$(SANITIZER).a)

RUST_asan := address
C_asan := address,undefined
RUST_tsan := thread
C_tsan := thread

OUT := build/$(SANITIZER)
LIB := target/$(SANITIZER)/$(HOST)/release/libasyncio.a
TESTS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/c/*.c))

C_FLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -O1 -g -fno-omit-frame-pointer \
	-Iinclude -pthread -fsanitize=$(C_$(SANITIZER)) -fno-sanitize-recover=all
# The quicker linker, where it is.
GOLD := $(if $(shell command -v ld.gold),-fuse-ld=gold)

LINK := $(GOLD) -Wl,--whole-archive $(RUNTIME) -Wl,--no-whole-archive -rdynamic -lm -ldl -lrt -lgcc_s

ifeq ($(SANITIZER),tsan)
FENCE := $(OUT)/fence.o
LINK += $(foreach f,_thread_fence 64_fetch_sub,-Wl,--wrap=__tsan_atomic$(f))
endif

# With a target of its own cargo leaves build scripts and macros alone. Some flags are rustc's
# unstable ones, which a stable compiler takes if it is told to.
export RUSTC_BOOTSTRAP := 1
export CARGO_PROFILE_RELEASE_LTO := off
export CARGO_PROFILE_RELEASE_OPT_LEVEL := 1
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS := 16
export CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUSTFLAGS := -Zsanitizer=$(RUST_$(SANITIZER)) \
	-Zunstable-options -Cunsafe-allow-abi-mismatch=sanitizer -Cforce-frame-pointers=yes

.PHONY: all runtime FORCE
all: $(TESTS)

# Whether there is what is wanted: the runtime's path, or nothing.
runtime:
	@echo $(RUNTIME)

$(LIB): FORCE
	$(CARGO) rustc --quiet --release --lib --crate-type staticlib --target $(HOST) \
		--target-dir target/$(SANITIZER)

$(OUT)/fence.o: tests/sanitize/fence.c tests/sanitize/build.mk
	@mkdir -p $(@D)
	$(CLANG) -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 -g -c -o $@ $<

$(OUT)/%: %.c $(LIB) $(FENCE)
	@mkdir -p $(@D)
	@$(CLANG) $(C_FLAGS) -MMD -MP -MF $@.d -MT $@ -c -o $@.o $<
	@$(CLANG) -pthread -o $@ $@.o $(FENCE) $(LIB) $(LINK) && rm $@.o

-include $(TESTS:=.d)
