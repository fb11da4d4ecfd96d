# tokpipe: language models as Unix programs. SPDX-License-Identifier: AGPL-3.0-or-later
#
#   make            build/bin/NAME for every tools/NAME.c
#   make deps       install what building and testing need (Debian, Ubuntu)
#   make demo       fetch a small real model and answer a prompt through the four-program pipe; QUANT=1: at four bits too
#   make check      build and run every test        make SAN=1 check    the same under ASan and UBSan
#   make fuzz       build the fuzz entries          make fuzz FUZZ_S=60 run each for 60 seconds
#   make flips      every truncation and every flipped bit of small valid inputs, under ASan and UBSan
#   make faults     every allocation and system call of short runs fails once
#   make SAN=thread check, make SAN=memory check   the tests that clang's ThreadSanitizer and MemorySanitizer can run
#   make check-clients  real clients (openai, anthropic, litellm ...) against llm-serve; installs them into the cache
#   make check-arm64                                the C kernels for arm64, under qemu-user
#   make bench      measure this machine, this project and its peers; writes bench/RESULTS.md (under ten minutes)
#   make faiss      build/bin/vec-faiss, the adapter to the faiss library, which is installed first
#   make install    PREFIX=/usr/local DESTDIR=      make uninstall, make clean
#   make format     apply .clang-format             make lint           check style: tests/lint
#   make dist       tokpipe-VERSION.tar.gz          make compile_commands.json
#
# A new program is a new tools/NAME.c, a new library file a new common/*/NAME.c, a new unit test a new
# tests/unit/NAME.c, new GPU kernels a new common/backend/cuda/NAME.cu: nothing has to be listed here.
#
# Where nvcc is found, the programs hold kernels for NVIDIA's GPUs, which takes minutes the first time:
#   make CUDA=0     without them                    make CUDA_ARCHS=90a    for one kind of GPU only

PREFIX  ?= /usr/local
CFLAGS  ?= -O3 -g
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
# No contraction and no -ffast-math: a sum means the same under every compiler and on every machine. Nobody looks at errno
# or the exception flags of arithmetic, and where they counted, gcc would make no vectors of a loop with a choice in it.
FIXED    = -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fno-trapping-math -pthread -Icommon
LIBS     = -lpcre2-8 -lutf8proc -lsodium $(SECCOMP) -lm -ldl -pthread
# The sandbox of Linux; without the library the programs have none.
SECCOMP := $(shell echo 'int main(void) { return 0; }' | $(CC) -x c -o /dev/null - -lseccomp 2>/dev/null && echo -lseccomp)
VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)

B        = build
SANFLAGS =
ifdef SAN
# thread and memory are clang's: gcc has no MSan, and its TSan is slower to compile the kernels.
SAN_NAME = $(if $(filter thread memory,$(SAN)),$(SAN),address)
B        = $(if $(filter address,$(SAN_NAME)),build-san,build-$(SAN_NAME))
SANFLAGS = -fsanitize=$(SAN_NAME:address=address,undefined) -fno-sanitize-recover=all -fno-omit-frame-pointer
# Lines, for reports, and no variables: gcc takes half the time for the kernels.
CFLAGS   = -O1 -g1
ifneq ($(SAN_NAME),address)
ifeq ($(origin CC),default)
CC       = clang
endif
endif
ifeq ($(SAN),memory)
# What the system's own libraries write: tests/lib/msan_libs.c.
MSAN_WRAP = pcre2_compile_8 pcre2_match_8 pcre2_pattern_info_8 pcre2_set_callout_8 pcre2_get_error_message_8 \
    utf8proc_decompose_char crypto_generichash crypto_generichash_final crypto_shorthash randombytes_buf sodium_bin2hex sodium_hex2bin \
    preadv2
MSAN_LIBS = build-memory/obj/tests/lib/msan_libs.o
LIBS     := $(MSAN_LIBS) $(MSAN_WRAP:%=-Wl,--wrap=%) $(LIBS)
endif
else
# Hardening, as far as the compiler has it; tests/hardening.bats reads it in the programs. HARDEN= HARDEN_LD= leaves it out.
KNOWN    = $(shell $(CC) $(CFLAGS) -Werror $1 -include stdio.h -x c -c -o /dev/null /dev/null 2>/dev/null && echo ' $1')
HARDEN  := $(foreach f,-fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection,$(call KNOWN,$f)) \
    $(call KNOWN,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
HARDEN_LD = -pie -Wl,-z,relro,-z,now,-z,noexecstack
endif
ALL_CFLAGS = $(FIXED) $(WARN) $(CFLAGS) $(SANFLAGS) $(HARDEN)

TOOLS   := $(patsubst tools/%.c,%,$(wildcard tools/*.c))
UNITS   := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c))
LIB_SRC := $(wildcard common/*/*.c common/*/*/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$B/obj/%.o)
MAN     := $(wildcard man/*.[157])

all: $(TOOLS:%=$B/bin/%)

$B/bin/%: $B/obj/tools/%.o $B/libtokpipe.a | $(MSAN_LIBS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $< $B/libtokpipe.a $(LIBS)
$B/bin/llm-serve: private LIBS := -lmicrohttpd $(LIBS)

$B/tests/%: $B/obj/tests/unit/%.o $B/libtokpipe.a | $(MSAN_LIBS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $< $B/libtokpipe.a $(LIBS)

$B/libtokpipe.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

# The adapter to faiss, which is no part of `all`: its library is large, and in C++.
faiss: $B/bin/vec-faiss
$B/bin/vec-faiss: tools/vec-faiss.cc $B/libtokpipe.a $B/flags
	@sh tools/install-deps.sh libfaiss-dev
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -Wall -Wextra -Icommon $(CFLAGS) $(SANFLAGS) $(HARDEN) -fopenmp $(HARDEN_LD) $(LDFLAGS) -o $@ $< \
	    $B/libtokpipe.a $(LIBS) -lfaiss -llapack -lblas

# The version stands in one object, so that a new one rebuilds little.
$B/obj/common/base/opt.o: private FIXED += -DTOKPIPE_VERSION='"$(VERSION)"'
$B/obj/common/base/opt.o: CHANGELOG.md

# Vectors wider than the registers go into inline functions alone, so that no ABI is concerned.
$B/obj/common/kernels/%_c.o $B/obj/common/kernels/%_baseline.o: private FIXED += -Wno-psabi

# The kernels have no array on the stack that a file could overrun, and the protector takes their registers.
$B/obj/common/kernels/%.o: private HARDEN := $(filter-out -fstack-%,$(HARDEN))

# A pointer that wraps around is not looked for there: in unrolled tiles this takes gcc most of its time. ASan sees its use.
ifeq ($(SAN_NAME),address)
$B/obj/common/kernels/%.o $B/obj/emulated/%.o: private SANFLAGS += -fno-sanitize=pointer-overflow
endif

# MSan's checks are calls there: unrolled tiles would take its compiler minutes.
ifeq ($(SAN),memory)
$B/obj/common/kernels/%.o: private SANFLAGS += -mllvm -msan-instrumentation-with-call-threshold=0
endif

# Lines without variables: gcc would follow these through every unrolled tile, which takes 2 fifths of its time.
$B/obj/common/kernels/%.o $B/obj/emulated/%.o: private CFLAGS := $(patsubst -g,-g1,$(CFLAGS))

# Where the inner loops begin is up to a tenth of their speed.
$B/obj/common/kernels/matmul_%.o $B/obj/common/kernels/attention_%.o: private FIXED += -falign-loops=64

# The kernels of x86-64 once more, against emulated instructions. These are calls, not worth
# optimising, whose vectors no other object sees. Lanes of whole numbers wrap, as those of the instructions do. A test links
# them in place of the library's.
EMULATED := $(patsubst common/kernels/%.c,$B/obj/emulated/%.o,$(wildcard common/kernels/matmul_avx*.c common/kernels/matmul_int_avx*.c common/kernels/attention_avx*.c) common/kernels/matmul_amx.c common/kernels/matmul_int_amx.c common/kernels/attention_amx.c)
$B/obj/emulated/%.o: common/kernels/%.c $B/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -O1 -fwrapv -fno-sanitize=signed-integer-overflow -Wno-psabi -DKERNELS_EMULATED='"../../tests/lib/emulate.h"' -MMD -MP -c -o $@ $<
$B/tests/kernels_emulated: $B/obj/tests/unit/kernels_emulated.o $(EMULATED) $B/libtokpipe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)

$B/obj/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Changed flags or another compiler rebuild everything.
$B/flags: KEPT = $(CC) $(ALL_CFLAGS)
$B/flags $B/shim-flags build/cuda/flags build/cuda/parts: FORCE
	@mkdir -p $(@D)
	@echo '$(KEPT)' | cmp -s - $@ || echo '$(KEPT)' >$@

# The GPU kernels, build/cuda/kernels.fatbin, which image.c puts into the library: empty without nvcc. Each .cu is compiled for
# each target, and the fat binaries of all of them follow each other. What ptxas says of registers is kept in build/cuda/*.log.
# The last target is also there as PTX, which the driver compiles for GPUs that are newer than all of them.
NVCC    ?= $(or $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null),nvcc)
NVCC    := $(NVCC)
CUDA    ?= $(if $(shell command -v '$(NVCC)'),1,0)
CUDA_ARCHS ?= 80 86 89 90 90a 100 120
NVFLAGS  = -std=c++17 -O3 -fmad=false -Icommon
ifeq ($(CUDA),1)
KNOWN_SMS := $(shell '$(NVCC)' --list-gpu-code)
ARCHS   := $(foreach a,$(CUDA_ARCHS),$(if $(filter sm_$(a:a=),$(KNOWN_SMS)),$a))
PTX     := $(lastword $(filter-out %a,$(ARCHS)))
FATBINS := $(patsubst common/backend/cuda/%.cu,build/cuda/%.fatbin,$(wildcard common/backend/cuda/*.cu))
endif

cuda: build/cuda/kernels.fatbin
build/cuda/flags: KEPT = $(NVCC) $(NVFLAGS)
build/cuda/parts: KEPT = $(ARCHS) $(PTX) $(FATBINS)
build/cuda/kernels.fatbin: $(FATBINS) build/cuda/parts
	@cat /dev/null $(FATBINS) >$@
build/cuda/%.fatbin: $(ARCHS:%=build/cuda/\%.sm_%.cubin) $(PTX:%=build/cuda/\%.sm_%.ptx) build/cuda/parts
	$(dir $(shell command -v '$(NVCC)'))fatbinary -64 --create=$@ \
	    $(foreach a,$(ARCHS),--image3=kind=elf,sm=$a,file=build/cuda/$*.sm_$a.cubin) \
	    $(foreach a,$(PTX),--image3=kind=ptx,sm=$a,file=build/cuda/$*.sm_$a.ptx)
# The stem is NAME.sm_90a; which file it depends on besides, its .d says.
build/cuda/%.cubin: build/cuda/flags
	$(NVCC) $(NVFLAGS) -arch=$(patsubst .%,%,$(suffix $*)) -cubin -Xptxas -v -MD -MP -MF build/cuda/$*.d -o $@ \
	    common/backend/cuda/$(basename $*).cu >build/cuda/$*.log 2>&1 || { cat build/cuda/$*.log; rm -f $@; exit 1; }
	@grep -A 5 -w warning build/cuda/$*.log || true
build/cuda/%.ptx: build/cuda/%.cubin
	$(NVCC) $(NVFLAGS) -arch=$(patsubst .sm_%,compute_%,$(suffix $*)) -ptx -o $@ common/backend/cuda/$(basename $*).cu

$B/obj/common/serve/assets.o: common/serve/page.html common/serve/openapi.json

$B/obj/common/backend/cuda/image.o: private FIXED += -DCU_IMAGE='"build/cuda/kernels.fatbin"'
$B/obj/common/backend/cuda/image.o: build/cuda/kernels.fatbin

# The stand-in for the driver, with the kernels compiled for the CPU. Without a sanitizer of ours, reads and writes of kernels
# call the stand-in's check for races, which is why it is linked without gcc's.
SHIM     = -std=c++17 -O2 -g -fPIC -DCUDA_SHIM -fno-strict-aliasing -ffp-contract=off -Wall -Icommon -Itests/cuda
RACES    = $(if $(SANFLAGS),$(SANFLAGS),-fsanitize=thread)
STANDIN  = $B/tests/cuda/libcuda.so.1
SHIM_OBJ = $B/obj/tests/cuda/shim.o $B/obj/tests/cuda/standin.o
$(STANDIN): $(SHIM_OBJ) $(patsubst %.cu,$B/obj/%.cu.o,$(wildcard common/backend/cuda/*.cu))
	@mkdir -p $(@D)
	$(CXX) -shared $(SANFLAGS) -Wl,-soname,$(@F) -o $@ $^ -ldl -pthread
$B/tests/cuda/shim_test: $B/obj/tests/cuda/shim_test.o $B/obj/tests/cuda/selftest.cu.o $(SHIM_OBJ)
	@mkdir -p $(@D)
	$(CXX) -rdynamic $(SANFLAGS) -o $@ $^ -ldl -pthread
$B/obj/%.o: %.cc $B/shim-flags
	@mkdir -p $(@D)
	$(CXX) $(SHIM) $(SANFLAGS) $(if $(SANFLAGS),,-DRACES=1) -MMD -MP -c -o $@ $<
$B/obj/%.cu.o: %.cu $B/shim-flags
	@mkdir -p $(@D)
	$(CXX) $(SHIM) $(RACES) -MMD -MP -x c++ -c -o $@ $<
$B/shim-flags: KEPT = $(CXX) $(SHIM) $(RACES)

JOBS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Every file through the compiler's front end with warnings as errors:  make syntax CC=clang
syntax:
	$(CC) $(FIXED) $(WARN) -Werror -O1 -fsyntax-only -DTOKPIPE_VERSION='""' $(LIB_SRC) -Ibench $(wildcard tools/*.c tests/unit/*.c tests/fuzz/*.c bench/*.c bench/lib/*.c)

# The parts run in order, also under -j: `deps` may just have installed what the build needs.
check: deps
	$(MAKE) -j$(JOBS) tests-bin
	BUILD=$B SAN=$(SAN) tests/run

# The GPU's stand-in, and the shim that fails system calls, are for builds without clang's TSan and MSan.
tests-bin: all $(UNITS:%=$B/tests/%) replay-bin \
    $(if $(filter thread memory,$(SAN)),,$(STANDIN) $B/tests/cuda/shim_test) $(if $(SAN),,$B/tests/faults.so $(SECCOMP:-lseccomp=$B/tests/probe.so))

# The unit tests that need neither PCRE2 nor utf8proc, for arm64, linked with a stand-in for libsodium.
ARM64_CC    ?= aarch64-linux-gnu-gcc
ARM64_UNITS ?= kernels pool dtype thread goldens forward prefix rank sample logits tokens safetensors config
ARM64_MAKE   = $(MAKE) --no-print-directory -j$(JOBS) B=build-arm64 CC='$(ARM64_CC)' CUDA=0 SAN= HARDEN= HARDEN_LD= \
    LDFLAGS='-static -Wl,--gc-sections' LIBS='build-arm64/obj/tests/arm64/sodium.o -lm -ldl -pthread'
check-arm64: deps
	@sh tools/install-deps.sh gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
	@$(ARM64_MAKE) build-arm64/obj/tests/arm64/sodium.o
	@$(ARM64_MAKE) $(ARM64_UNITS:%=build-arm64/tests/%)
	BUILD=build-arm64 RUNNER=qemu-aarch64 tests/run $(ARM64_UNITS)

# Real clients against llm-serve, from the package index, once: tests/clients/requirements.txt
check-clients: deps
	$(MAKE) -j$(JOBS) all
	BUILD=$B tests/clients/run

# build/bench/NAME for every bench/NAME.c, with what they share in bench/lib.
BENCH := $(patsubst bench/%.c,%,$(wildcard bench/*.c))
BENCH_OBJ := $(patsubst %.c,$B/obj/%.o,$(wildcard bench/lib/*.c))
bench-bin: $(BENCH:%=$B/bench/%)
$B/bench/%: $B/obj/bench/%.o $(BENCH_OBJ) $B/libtokpipe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $< $(BENCH_OBJ) $B/libtokpipe.a $(LIBS)
$B/obj/bench/%.o: private FIXED += -Ibench

# Measures limits, us and peers in one interleaved run, and writes bench/RESULTS.md: bench/README.md.
bench: deps
	@sh tools/install-deps.sh gnuplot-nox
	BUILD=$B bench/run

deps:
	@sh tools/install-deps.sh

# Style. The tools for it are not part of `deps`. Other versions than clang-format 14 may break lines at other places.
format:
	@sh tools/install-deps.sh clang-format
	@tests/lint fix

lint: deps
	@sh tools/install-deps.sh clang-format clang-tidy cppcheck shellcheck
	@tests/lint

# How each file is compiled, for editors and clang-tidy: the commands that make itself would run.
compile_commands.json: FORCE
	@$(MAKE) -nB --no-print-directory CUDA=0 all tests-bin bench-bin | awk -v dir='$(CURDIR)' ' \
	    BEGIN { print "[" } \
	    / -c -o / { file = $$NF; gsub(/\\/, "&&"); gsub(/"/, "\\\""); \
	        printf "%s{\"directory\": \"%s\", \"file\": \"%s\", \"command\": \"%s\"}", n++ ? ",\n" : "", dir, file, $$0 } \
	    END { print "\n]" }' >$@.tmp
	@if cmp -s $@.tmp $@; then rm $@.tmp; else mv $@.tmp $@; fi

# The last commit as an archive: the same commit gives the same bytes.
dist:
	@git -c tar.umask=0022 archive --format=tar --prefix='tokpipe-$(VERSION)/' HEAD | gzip -9n >'tokpipe-$(VERSION).tar.gz'
	@echo 'tokpipe-$(VERSION).tar.gz'

# build-fuzz/NAME for every tests/fuzz/NAME.c, with clang's libFuzzer:  build-fuzz/json -max_total_time=60
# FUZZ_S=60: also runs each for 60 seconds, from tests/fuzz/seeds: tests/fuzz/README.md
FUZZ     := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_CC   = $(CLANG) $(FIXED) -DTOKPIPE_VERSION='"fuzz"' -O1 -g -fno-sanitize-recover=all
FUZZ_OBJ := $(LIB_SRC:%.c=build-fuzz/obj/%.o)
CLANG    ?= clang
fuzz: $(FUZZ:%=build-fuzz/%)
	$(if $(FUZZ_S),tests/fuzz/run $(FUZZ_S) $(FUZZ))
build-fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
# The kernels parse nothing, and their unrolled tiles take UBSan's compiler minutes. ASan's checks are calls there.
build-fuzz/obj/common/kernels/%.o: common/kernels/%.c
	@mkdir -p $(@D)
	$(FUZZ_CC) -Wno-psabi -fsanitize=address -mllvm -asan-instrumentation-with-call-threshold=0 -MMD -MP -c -o $@ $<
build-fuzz/libtokpipe.a: $(FUZZ_OBJ)
	@rm -f $@
	$(AR) rcs $@ $(FUZZ_OBJ)
build-fuzz/%: build-fuzz/obj/tests/fuzz/%.o build-fuzz/libtokpipe.a
	$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)

# The same entries with a main of ours, for any compiler: it runs files and their mutations.
REPLAY := $(FUZZ:%=$B/fuzz/%)
$B/fuzz/%: $B/obj/tests/fuzz/%.o $B/obj/tests/lib/fuzz_replay.o $B/libtokpipe.a | $(MSAN_LIBS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(LIBS)
replay-bin: $(REPLAY)

# Every truncation, flipped bit and changed byte of each seed, under ASan and UBSan, in minutes.
flips: deps
	$(MAKE) -j$(JOBS) SAN=1 replay-bin
	BUILD=build-san tests/fuzz/flips $(or $(FLIPS),0) $(FUZZ)

# Preloaded into programs. faults: fails one allocation or system call; all of them:  make faults
# probe: tries what the sandbox is there to stop.
$B/tests/faults.so $B/tests/probe.so: $B/tests/%.so: tests/lib/%.c $B/flags
	@mkdir -p $(@D) $B/obj
	$(CC) $(FIXED) $(WARN) -O1 -g -fPIC -shared -MMD -MP -MF $B/obj/$*.d -o $@ $< -ldl $(SECCOMP)
faults: deps
	$(MAKE) -j$(JOBS) all $B/tests/faults.so
	BUILD=$B python3 tests/faults.py

demo: deps
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@BUILD=$B examples/demo $(if $(QUANT),--quant)

# The same model over HTTP, until Ctrl-C.
serve-demo: deps
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@PATH="$(CURDIR)/$B/bin:$$PATH" examples/serve "$$(BUILD=$B sh tools/fetch-demo-model.sh bf16)"

SHARE     = $(DESTDIR)$(PREFIX)/share
BASH_DIR  = $(SHARE)/bash-completion/completions
ZSH_DIR   = $(SHARE)/zsh/site-functions
DOC_DIR   = $(SHARE)/doc/tokpipe
# The demo downloads into a source tree, so it is not installed.
EXAMPLES := $(filter-out examples/demo examples/systemd,$(wildcard examples/*))
UNITS    := $(wildcard examples/systemd/*)

# bash loads the completion of a command from a file of the command's name, so each program has a link.
install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(BASH_DIR)' '$(ZSH_DIR)' '$(DOC_DIR)/examples'
	for t in $(TOOLS); do install -m 755 "$B/bin/$$t" '$(DESTDIR)$(PREFIX)/bin/' || exit 1; done
	if [ -x '$B/bin/vec-faiss' ]; then install -m 755 '$B/bin/vec-faiss' '$(DESTDIR)$(PREFIX)/bin/'; fi
	for m in $(MAN); do s=$${m##*.}; install -d "$(SHARE)/man/man$$s" && \
	    install -m 644 "$$m" "$(SHARE)/man/man$$s/" || exit 1; done
	install -m 644 completion/tokpipe.bash '$(BASH_DIR)/tokpipe.bash'
	for t in $(TOOLS); do ln -sf tokpipe.bash "$(BASH_DIR)/$$t" || exit 1; done
	install -m 644 completion/_tokpipe '$(ZSH_DIR)/_tokpipe'
	install -m 755 $(EXAMPLES) '$(DOC_DIR)/examples/'
	install -m 644 common/serve/openapi.json '$(DOC_DIR)/'
	install -d '$(DOC_DIR)/examples/systemd'
	install -m 644 $(UNITS) '$(DOC_DIR)/examples/systemd/'

uninstall:
	for t in $(TOOLS) vec-faiss; do rm -f "$(DESTDIR)$(PREFIX)/bin/$$t" "$(BASH_DIR)/$$t"; done
	for m in $(MAN); do rm -f "$(SHARE)/man/man$${m##*.}/$${m##*/}"; done
	rm -f '$(BASH_DIR)/tokpipe.bash' '$(ZSH_DIR)/_tokpipe'
	for e in $(EXAMPLES:examples/%=%); do rm -f "$(DOC_DIR)/examples/$$e"; done
	for u in $(UNITS); do rm -f "$(DOC_DIR)/$$u"; done
	rm -f '$(DOC_DIR)/openapi.json'
	rmdir '$(DOC_DIR)/examples/systemd' '$(DOC_DIR)/examples' '$(DOC_DIR)' 2>/dev/null || true

clean:
	rm -rf build build-san build-thread build-memory build-fuzz build-arm64

FORCE:
.PHONY: all faiss bench bench-bin cuda syntax check check-arm64 check-clients fuzz flips faults replay-bin tests-bin deps demo format lint dist install uninstall clean FORCE
.SECONDARY:

-include $(shell find $B/obj build/cuda build-fuzz/obj -name '*.d' 2>/dev/null)
