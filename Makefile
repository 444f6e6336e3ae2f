# agwb: two daemons around RabbitMQ and PostgreSQL. `make help` lists the targets.
# Non-recursive; everything that is built goes to $(BUILD).

VERSION  := 0.1.0
CC       ?= gcc
BUILD    ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
SANITIZE ?=
CRASH_POINTS ?=
WERROR   ?=

PACKAGES := librabbitmq libcurl libcjson libpq libconfig libuv libmicrohttpd libsystemd libcrypto
LIBS      = $(shell pkg-config --libs $(PACKAGES)) -lm

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fPIE
ifeq ($(SANITIZE),)
OPT      := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
endif
CPPFLAGS += $(if $(CRASH_POINTS),-DAGWB_CRASH_POINTS) -D_GNU_SOURCE -DAGWB_VERSION='"$(VERSION)"' -Icommon -I. $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS   += -std=c17 $(WARN) $(if $(WERROR),-Werror) $(OPT) $(HARDEN)
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(if $(SANITIZE),-fsanitize=$(SANITIZE))

COMMON_SRC    := $(wildcard common/*/*.c)
PUBLISHER_SRC := $(filter-out publisher/main.c,$(wildcard publisher/*.c publisher/*/*.c))
CONSUMER_SRC  := $(filter-out consumer/main.c,$(wildcard consumer/*.c consumer/*/*.c))
UNIT_SRC      := $(wildcard tests/unit/test_*.c)
INTEGRATION_SRC := $(wildcard tests/integration/test_*.c)
HARNESS_SRC   := $(filter-out tests/integration/test_%.c,$(wildcard tests/integration/*.c))
STANDIN_SRC   := $(wildcard tests/provider/*.c tests/agent/*.c tests/hooks/*.c tests/demo/*.c)
FAULTS_SRC    := $(filter-out tests/faults/proxy.c tests/faults/clockstep.c,$(wildcard tests/faults/*.c)) tests/integration/harness.c tests/hooks/payload.c
FUZZ_SRC      := $(wildcard tests/fuzz/fuzz*.c)
SQL           := $(sort $(wildcard schemas/sql/*.sql))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

DAEMONS := $(BUILD)/agwb-publisher $(BUILD)/agwb-consumer
UNIT    := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))
INTEGRATION := $(patsubst tests/integration/%.c,$(BUILD)/tests/integration/%,$(INTEGRATION_SRC))
STANDINS := $(if $(wildcard tests/provider/*.c),$(BUILD)/tests/provider) $(if $(wildcard tests/agent/*.c),$(BUILD)/tests/agent) \
            $(BUILD)/tests/hooks $(if $(wildcard tests/demo/*.c),$(BUILD)/tests/demo)

.PHONY: all help deps demo check check-unit check-integration check-schemas check-asan check-faults check-daemons check-ops lint install clean format
all: $(DAEMONS)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 22

# --- programs -----------------------------------------------------------------------------------------------------
$(BUILD)/libcommon.a: $(call obj,$(COMMON_SRC))
	@rm -f $@
	@$(AR) rcs $@ $^
$(BUILD)/libpublisher.a: $(call obj,$(PUBLISHER_SRC)) $(BUILD)/obj/migrations.o
	@rm -f $@
	@$(AR) rcs $@ $^
$(BUILD)/libconsumer.a: $(call obj,$(CONSUMER_SRC))
	@rm -f $@
	@$(AR) rcs $@ $^

$(BUILD)/agwb-publisher: $(BUILD)/obj/publisher/main.o $(BUILD)/libpublisher.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/agwb-consumer: $(BUILD)/obj/consumer/main.o $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The migrations travel inside agwb-publisher, so that an installed program needs no files beside it.
$(BUILD)/migrations.c: $(SQL) schemas/embed.sh
	@mkdir -p $(@D)
	sh schemas/embed.sh $(SQL) > $@.tmp && mv $@.tmp $@
$(BUILD)/obj/migrations.o: $(BUILD)/migrations.c
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.SECONDARY: # or make would remove the tests' objects and compile them again next time

# --- tests --------------------------------------------------------------------------------------------------------
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libpublisher.a $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(call obj,$(HARNESS_SRC)) $(BUILD)/libpublisher.a $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/provider: $(call obj,$(wildcard tests/provider/*.c)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/agent: $(call obj,$(wildcard tests/agent/*.c)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/bench: $(call obj,$(wildcard tests/bench/*.c)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/hooks: $(call obj,$(wildcard tests/hooks/*.c)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/demo: $(call obj,$(wildcard tests/demo/*.c) $(filter-out tests/hooks/main.c,$(wildcard tests/hooks/*.c))) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# The corpus through every fuzz target without libFuzzer; then with it, in a build of its own (`make fuzz`).
$(BUILD)/tests/unit/test_fuzz_corpus: $(call obj,tests/unit/test_fuzz_corpus.c $(FUZZ_SRC)) $(BUILD)/libpublisher.a $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/fuzzer: $(call obj,tests/fuzz/driver.c $(FUZZ_SRC)) $(BUILD)/libpublisher.a $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
# Allocations that fail: the decoders in one program, the daemons through a preloaded library (plain builds only).
$(BUILD)/tests/alloc_pure: $(call obj,tests/fuzz/alloc_pure.c tests/fuzz/alloc_fail.c $(FUZZ_SRC)) $(BUILD)/libpublisher.a $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/alloc_fail.so: tests/fuzz/alloc_fail.c tests/fuzz/alloc_fail.h
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared -DALLOC_FAIL_PRELOAD -o $@ $<
$(BUILD)/tests/tables: $(BUILD)/obj/tests/lint/tables.o $(BUILD)/libconsumer.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/proxy: $(BUILD)/obj/tests/faults/proxy.o $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/faults: $(call obj,$(FAULTS_SRC)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/clockstep.so: tests/faults/clockstep.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c17 $(WARN) -O2 -shared -fPIC -o $@ $< -ldl
.PHONY: build-faults
build-faults: $(BUILD)/tests/clockstep.so $(DAEMONS) $(BUILD)/tests/provider $(BUILD)/tests/agent $(BUILD)/tests/proxy $(BUILD)/tests/faults \
              $(BUILD)/tests/integration/test_pair_parts

deps: ## install every Debian package that building and testing need (as root)
	@sh tests/deps.sh

# What `demo`, `check` and the others start with: packages, then a parallel build.
.PHONY: ready
ready: deps
	@$(MAKE) --no-print-directory -j$$(nproc) build-all
.PHONY: build-all
build-all: $(DAEMONS) $(STANDINS) $(UNIT) $(INTEGRATION) build-etc

demo: deps ## the whole pair on private servers, N messages (default 200)
	@$(MAKE) --no-print-directory -j$$(nproc) $(DAEMONS) $(STANDINS)
	@BUILD=$(BUILD) tests/sandbox/sandbox tests/demo/run.sh $(N)

check: ready ready-faults ## every test: unit, schemas, integration on private servers, faults in their short form
	@BUILD=$(BUILD) sh tests/run.sh

check-ops: deps ## what is shipped in etc/: Prometheus, package, systemd, containers; says what it must skip and why
	@sh tests/deps.sh ops
	@$(MAKE) --no-print-directory -j$$(nproc) $(DAEMONS) $(STANDINS) build-etc
	@$(MAKE) --no-print-directory deb >$(BUILD)/deb.log 2>&1 || { tail -n 30 $(BUILD)/deb.log; exit 1; }
	@BUILD=$(BUILD) sh tests/run.sh ops

check-unit: ready ## unit tests only
	@BUILD=$(BUILD) sh tests/run.sh unit
check-integration: ready ## integration tests only; T=name picks one
	@BUILD=$(BUILD) sh tests/run.sh integration $(T)
check-schemas: ready ## the corpus against JSON Schema validators
	@BUILD=$(BUILD) sh tests/run.sh schemas

# A build of its own: the daemons with crash points. SEED and MINUTES are the random schedule's; CASE=name runs one case instead.
SEED    ?= 1
MINUTES ?= 15
.PHONY: ready-faults
ready-faults: deps
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)/faults CRASH_POINTS=1 build-faults
# Every case (about 7 minutes), a cluster whose nodes die (1), then the random schedule (MINUTES and 2: 15 minutes are some 130,000 messages and
# 1,000 kills). The short form in `make check` takes 3.
check-faults: ready-faults ## kill everything at every step, then at random under load: SEED=n MINUTES=m, or CASE=name
	@BUILD=$(BUILD)/faults tests/sandbox/sandbox $(BUILD)/faults/tests/faults $(if $(CASE),--case "$(CASE)")
	$(if $(CASE),,@BUILD=$(BUILD)/faults tests/sandbox/sandbox $(BUILD)/faults/tests/integration/test_pair_parts)
	$(if $(CASE),,@BUILD=$(BUILD)/faults tests/faults/cluster tests/sandbox/sandbox --no-broker $(BUILD)/faults/tests/faults)
	$(if $(CASE),,@BUILD=$(BUILD)/faults tests/sandbox/sandbox $(BUILD)/faults/tests/faults --seed $(SEED) --minutes $(MINUTES))

check-asan: deps ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined check

check-alloc: deps ## every allocation of the decoders, and RUNS (40) of each daemon's, fail once: orderly ends, nothing lost
	@$(MAKE) --no-print-directory -j$$(nproc) $(DAEMONS) $(BUILD)/tests/provider $(BUILD)/tests/alloc_pure $(BUILD)/tests/alloc_fail.so
	@$(BUILD)/tests/alloc_pure
	@tests/sandbox/sandbox /usr/bin/python3 tests/fuzz/alloc_daemons.py $(BUILD) $(RUNS)
check-valgrind: deps ## most unit tests under valgrind; T="name..." picks some
	@$(MAKE) --no-print-directory -j$$(nproc) $(UNIT)
	@BUILD=$(BUILD) sh tests/valgrind.sh $(T)

# bench.py's own exit status: 0 all gates hold, 1 one is missed, 3 something could not be
# judged; make's is 2 for both, its last line names it.
ROUNDS ?= 3
.PHONY: bench
bench: deps ## speed and cost on private servers against the gates, ROUNDS (3); PARTS="publish,consume" picks some by their beginnings
	@$(MAKE) --no-print-directory -j$$(nproc) $(DAEMONS) $(BUILD)/tests/bench $(BUILD)/tests/integration/test_plans
	@BUILD=$(BUILD) tests/sandbox/sandbox tests/bench/bench.py --rounds $(ROUNDS) $(if $(PARTS),--only "$(PARTS)")

FUZZ_SECONDS ?= 20
fuzz: deps ## libFuzzer on every decoder of outside bytes, FUZZ_SECONDS (20) each; T="name..." picks some
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)/fuzz CC=clang SANITIZE=fuzzer-no-link,address,undefined $(BUILD)/fuzz/fuzzer
	@sh tests/fuzz/run.sh $(BUILD)/fuzz/fuzzer $(FUZZ_SECONDS) $(T)

lint: export LINT_CC = $(CC)
lint: export LINT_FLAGS = -std=c17 $(WARN) $(CPPFLAGS)
lint: export LINT_TABLES = $(BUILD)/tests/tables
lint: deps ## clang-tidy, format, headers, banned calls, options, states, function sizes; L="name..." picks some
	@$(MAKE) --no-print-directory -j$$(nproc) $(BUILD)/tests/tables
	@sh tests/lint/run.sh $(L)

format: ## rewrite the sources with clang-format
	clang-format -i $$(git ls-files '*.c' '*.h')

include etc/install.mk

clean: ## remove everything that was built
	rm -rf $(BUILD)
