# tokpipe: language models as Unix programs. SPDX-License-Identifier: AGPL-3.0-or-later
#
#   make            build/bin/NAME for every tools/NAME.c
#   make deps       install what building and testing need (Debian, Ubuntu)
#   make demo       fetch a small real model and answer a prompt through the four-program pipe
#   make check      build and run every test        make SAN=1 check    the same under ASan and UBSan
#   make bench      measure this machine, this project and its peers; writes bench/RESULTS.md (under ten minutes)
#   make install    PREFIX=/usr/local DESTDIR=      make uninstall, make clean
#
# A new program is a new tools/NAME.c, a new library file a new common/*/NAME.c, a new unit test a new
# tests/unit/NAME.c: nothing has to be listed here.

PREFIX  ?= /usr/local
CFLAGS  ?= -O3 -g
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
# No contraction and no -ffast-math: a sum means the same under every compiler and on every machine. Nobody looks at errno
# or the exception flags of arithmetic, and where they counted, gcc would make no vectors of a loop with a choice in it.
FIXED    = -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fno-trapping-math -pthread -Icommon
LIBS     = -lpcre2-8 -lutf8proc -lsodium -lm -pthread
VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)

ifdef SAN
B        = build-san
SANFLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS   = -O1 -g
else
B        = build
SANFLAGS =
endif
ALL_CFLAGS = $(FIXED) $(WARN) $(CFLAGS) $(SANFLAGS)

TOOLS   := $(patsubst tools/%.c,%,$(wildcard tools/*.c))
UNITS   := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c))
LIB_OBJ := $(patsubst %.c,$B/obj/%.o,$(wildcard common/*/*.c))
MAN     := $(wildcard man/*.[157])

all: $(TOOLS:%=$B/bin/%)

$B/bin/%: $B/obj/tools/%.o $B/libtokpipe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $B/libtokpipe.a $(LIBS)

$B/tests/%: $B/obj/tests/unit/%.o $B/libtokpipe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $B/libtokpipe.a $(LIBS)

$B/libtokpipe.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

# The version stands in one object, so that a new one rebuilds little.
$B/obj/common/base/opt.o: private FIXED += -DTOKPIPE_VERSION='"$(VERSION)"'
$B/obj/common/base/opt.o: CHANGELOG.md

# Vectors wider than the registers go into inline functions alone, so that no ABI is concerned.
$B/obj/common/kernels/tiles_c.o: private FIXED += -Wno-psabi

# Where the inner loops begin is up to a tenth of their speed.
$B/obj/common/kernels/tiles.o: private FIXED += -falign-loops=64

# Emulated instructions are calls, not worth optimising, whose vectors no other object sees.
$B/obj/tests/unit/kernels_emulated.o: private CFLAGS = -O1 -g -Wno-psabi

$B/obj/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Changed flags or another compiler rebuild everything.
$B/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS)' >$@

# The parts run in order, also under -j: what builds may have been installed just before.
JOBS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Every file through the compiler's front end with warnings as errors:  make syntax CC=clang
syntax:
	$(CC) $(FIXED) $(WARN) -Werror -O1 -fsyntax-only -DTOKPIPE_VERSION='""' $(wildcard common/*/*.c tools/*.c tests/unit/*.c tests/fuzz/*.c)

check: deps
	$(MAKE) -j$(JOBS) tests-bin
	BUILD=$B tests/run

tests-bin: all $(UNITS:%=$B/tests/%)

# build/bench/NAME for every bench/NAME.c, with what they share in bench/lib.
BENCH := $(patsubst bench/%.c,%,$(wildcard bench/*.c))
BENCH_OBJ := $(patsubst %.c,$B/obj/%.o,$(wildcard bench/lib/*.c))
bench-bin: $(BENCH:%=$B/bench/%)
$B/bench/%: $B/obj/bench/%.o $(BENCH_OBJ) $B/libtokpipe.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(BENCH_OBJ) $B/libtokpipe.a $(LIBS)
$B/obj/bench/%.o: private FIXED += -Ibench

# Measures limits, us and peers in one interleaved run, and writes bench/RESULTS.md: bench/README.md.
bench: deps
	@sh tools/install-deps.sh gnuplot-nox
	BUILD=$B bench/run

deps:
	@sh tools/install-deps.sh

# build-fuzz/NAME for every tests/fuzz/NAME.c, with clang's libFuzzer:  build-fuzz/json -max_total_time=60
FUZZ   := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_CC = clang $(FIXED) -DTOKPIPE_VERSION='"fuzz"' -O1 -g -fno-sanitize-recover=all
fuzz: $(FUZZ:%=build-fuzz/%)
build-fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
# The kernels parse nothing, and their unrolled tiles take a sanitizer's compiler minutes.
build-fuzz/obj/common/kernels/%.o: common/kernels/%.c
	@mkdir -p $(@D)
	$(FUZZ_CC) -MMD -MP -c -o $@ $<
build-fuzz/%: tests/fuzz/%.c $(patsubst %.c,build-fuzz/obj/%.o,$(wildcard common/*/*.c))
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)

demo: deps
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@BUILD=$B examples/demo

install: all
	install -d '$(DESTDIR)$(PREFIX)/bin'
	for t in $(TOOLS); do install -m 755 "$B/bin/$$t" '$(DESTDIR)$(PREFIX)/bin/' || exit 1; done
	for m in $(MAN); do s=$${m##*.}; install -d "$(DESTDIR)$(PREFIX)/share/man/man$$s" && \
	    install -m 644 "$$m" "$(DESTDIR)$(PREFIX)/share/man/man$$s/" || exit 1; done

uninstall:
	for t in $(TOOLS); do rm -f "$(DESTDIR)$(PREFIX)/bin/$$t"; done
	for m in $(MAN); do rm -f "$(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}"; done

clean:
	rm -rf build build-san build-fuzz

FORCE:
.PHONY: all bench bench-bin syntax check fuzz tests-bin deps demo install uninstall clean FORCE
.SECONDARY:

-include $(shell find $B/obj build-fuzz/obj -name '*.d' 2>/dev/null)
