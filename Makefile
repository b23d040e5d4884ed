# loam - see README.md.  `make` builds the programs into build/bin, `make demo` shows them at work,
# `make test` runs the tests, `make check` everything a change must pass.
CC      ?= cc
CONFIG  ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)

O   := build/$(CONFIG)
BIN := $(if $(filter release,$(CONFIG)),build/bin,$(O)/bin)
GOLDEN ?= ../shared/golden

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes \
  -Wmissing-prototypes -Wold-style-definition -Wundef -Wvla -Wcast-qual -Wcast-align -Wformat=2 \
  -Wnull-dereference -Wwrite-strings -Werror
OPT_release := -O2 -g -DNDEBUG -D_FORTIFY_SOURCE=2
OPT_debug   := -Og -g -DLOAM_DEBUG
OPT_asan    := -O1 -g -DLOAM_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan    := -O1 -g -DLOAM_DEBUG -fsanitize=thread
OPT_clang   := -O2 -g -DNDEBUG
OPT_fuzz    := -O1 -g -DLOAM_DEBUG -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT := $(OPT_$(CONFIG))
ifneq ($(filter clang fuzz,$(CONFIG)),)
CC := clang
endif
# gcc's -Wnull-dereference reports impossible paths once sanitizers add branches
WARN_CONFIG := $(if $(filter asan tsan fuzz,$(CONFIG)),$(filter-out -Wnull-dereference,$(WARN)),$(WARN))

BASE_FLAGS := -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -Iapps -ffp-contract=off -fno-math-errno -fvisibility=hidden \
  -fstack-protector-strong -fPIE -pthread -MMD -MP
CFLAGS  ?=
ALL_CFLAGS := $(BASE_FLAGS) $(OPT) $(WARN_CONFIG) $(CFLAGS)
ALL_LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(filter -fsanitize%,$(subst fuzzer-no-link$(comma),,$(OPT))) $(LDFLAGS)
comma := ,
# V=1 shows the commands
Q   := $(if $(V),,@)
say = $(if $(or $(V),$(findstring s,$(firstword -$(MAKEFLAGS)))),@:,@printf '  %-3s %s\n' $1 $2)
LIBS := -lpcre2-8 -lutf8proc -lz -lm

# Instruction sets: only the file of that name gets the flags (src/kernels/dispatch.c picks at start).
X86 := $(filter x86_64,$(shell $(CC) -dumpmachine | cut -d- -f1))
ISA_avx2       := $(if $(X86),-mavx2 -mfma -mf16c)
ISA_avxvnni    := $(ISA_avx2) $(if $(X86),-mavxvnni)
ISA_avx512     := $(if $(X86),-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq)
ISA_avx512vnni := $(ISA_avx512) $(if $(X86),-mavx512vnni)
ISA_amx        := $(ISA_avx512vnni) $(if $(X86),-mavx512vbmi -mamx-tile -mamx-int8 -mamx-bf16)
ARM := $(filter aarch64 arm64,$(shell $(CC) -dumpmachine | cut -d- -f1))
ISA_neondot    := $(if $(ARM),-march=armv8.2-a+dotprod)
ISA_neoni8mm   := $(if $(ARM),-march=armv8.2-a+dotprod+i8mm)
ISA_ref        := -fno-tree-vectorize
isa_of = $(firstword $(subst _, ,$(basename $(notdir $1))))

LIB_SRC  := $(sort $(wildcard src/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(O)/%.o)
LIB      := $(O)/libloam.a
CLI_OBJ  := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard apps/cli/*.c)))
# a program's further files: apps/loam/*.c for loam, apps/rag/*.c for rag-cli, apps/pdf/*.c for loam-pdf, ...
parts_of = $(patsubst %.c,$(O)/%.o,$(sort $(wildcard apps/$(patsubst loam-%,%,$(patsubst %-cli,%,$1))/*.c)))
PROGRAMS := $(patsubst apps/%.c,%,$(wildcard apps/*.c))
BINS     := $(foreach p,$(PROGRAMS),$(BIN)/$(subst _,-,$p))
TESTS    := $(patsubst tests/%.c,$(O)/tests/%,$(sort $(wildcard tests/test_*.c)))
FUZZ     := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

BENCH    := $(patsubst bench/%.c,$(O)/bench/%,$(sort $(wildcard bench/*.c)))

# Heavy libraries, each linked by the one program that needs it.
pkg = $(shell pkg-config --$1 $2 2>/dev/null)
LIBS_rag_cli   := -ledit
CFLAGS_loam_pdf  = $(patsubst -I%,-isystem %,$(call pkg,cflags,poppler-glib))
LIBS_loam_pdf    = $(call pkg,libs,poppler-glib) -lseccomp
LIBS_loam_html := -lgumbo -lseccomp
LIBS_fuzz_html := -lgumbo
LIBS_loam_pull := -lcurl -lcrypto

.PHONY: all lib bench man test test-models check demo install clean deps format
all: $(BINS)
lib: $(LIB)

$(O)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(filter src/kernels/%,$<),$(ISA_$(call isa_of,$<))) $(CFLAGS_$(subst -,_,$(basename $(notdir $<)))) -c $< -o $@

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(O)/libcli.a: $(CLI_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

.SECONDARY: # keep object files
.SECONDEXPANSION:
$(BIN)/%: $(O)/apps/$$(subst -,_,%).o $$(call parts_of,%) $(O)/libcli.a $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(O)/libcli.a $(LIB) $(LIBS) $(LIBS_$(subst -,_,$*))

$(O)/tests/%: $(O)/tests/%.o $(O)/libcli.a $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(O)/libcli.a $(LIB) $(LIBS)

$(O)/fuzz/%: $(O)/tests/fuzz/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB) $(LIBS) $(LIBS_$*)

$(O)/bench/%: $(O)/bench/%.o $(O)/libcli.a $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(O)/libcli.a $(LIB) $(LIBS)

deps:
	@tools/install-deps.sh
tests: $(TESTS)
fuzzers: $(FUZZ)
bench: $(BENCH)
# build/bench/peers.md: loam beside llama.cpp, onnxruntime, numpy, faiss, usearch, tiktoken (docs/SPEED.md)
bench-peers: $(BIN)/bench-cli
	@BIN=$(BIN) bench/peers/run.sh $(PEERS_ARGS)
test: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all tests
	@tools/run-tests.sh $(O) $(BIN)
test-models: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all tests
	@tools/run-model-tests.sh $(O) $(BIN)
check: deps
	@tools/check.sh
demo: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@tools/demo.sh $(BIN)
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
clean:
	rm -rf build

man: all
	@tools/make-man.sh "$(BIN)" "$(O)/man"
install: man
	DESTDIR="$(DESTDIR)" tools/install.sh "$(BIN)" "$(O)" "$(O)/man" "$(PREFIX)"

-include $(shell find $(O) -name '*.d' 2>/dev/null)
