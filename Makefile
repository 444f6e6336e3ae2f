# agwb: two daemons around RabbitMQ and PostgreSQL. `make help` lists the targets.
# Non-recursive; everything that is built goes to $(BUILD).

VERSION  := 0.1.0
CC       ?= gcc
BUILD    ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
SANITIZE ?=
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
CPPFLAGS += -D_GNU_SOURCE -DAGWB_VERSION='"$(VERSION)"' -Icommon -I. $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS   += -std=c17 $(WARN) $(if $(WERROR),-Werror) $(OPT) $(HARDEN)
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(if $(SANITIZE),-fsanitize=$(SANITIZE))

COMMON_SRC    := $(wildcard common/*/*.c)
PUBLISHER_SRC := $(filter-out publisher/main.c,$(wildcard publisher/*.c publisher/*/*.c))
CONSUMER_SRC  := $(filter-out consumer/main.c,$(wildcard consumer/*.c consumer/*/*.c))
UNIT_SRC      := $(wildcard tests/unit/test_*.c)
INTEGRATION_SRC := $(wildcard tests/integration/test_*.c)
HARNESS_SRC   := $(filter-out tests/integration/test_%.c,$(wildcard tests/integration/*.c))
STANDIN_SRC   := $(wildcard tests/provider/*.c tests/agent/*.c tests/demo/*.c)
SQL           := $(sort $(wildcard schemas/sql/*.sql))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

DAEMONS := $(BUILD)/agwb-publisher $(BUILD)/agwb-consumer
UNIT    := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))
INTEGRATION := $(patsubst tests/integration/%.c,$(BUILD)/tests/integration/%,$(INTEGRATION_SRC))
STANDINS := $(if $(wildcard tests/provider/*.c),$(BUILD)/tests/provider) $(if $(wildcard tests/agent/*.c),$(BUILD)/tests/agent) \
            $(if $(wildcard tests/demo/*.c),$(BUILD)/tests/demo)

.PHONY: all help deps demo check check-unit check-integration check-schemas check-asan check-daemons lint install clean format
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
$(BUILD)/tests/demo: $(call obj,$(wildcard tests/demo/*.c)) $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

deps: ## install every Debian package that building and testing need (as root)
	@sh tests/deps.sh

# What `demo`, `check` and the others start with: packages, then a parallel build.
.PHONY: ready
ready: deps
	@$(MAKE) --no-print-directory -j$$(nproc) build-all
.PHONY: build-all
build-all: $(DAEMONS) $(STANDINS) $(UNIT) $(INTEGRATION)

demo: deps ## the whole pair on private servers, N messages (default 200)
	@$(MAKE) --no-print-directory -j$$(nproc) $(DAEMONS) $(STANDINS)
	@BUILD=$(BUILD) tests/sandbox/sandbox tests/demo/run.sh $(N)

check: ready ## every test: unit, schemas, integration on private servers
	@BUILD=$(BUILD) sh tests/run.sh

check-unit: ready ## unit tests only
	@BUILD=$(BUILD) sh tests/run.sh unit
check-integration: ready ## integration tests only; T=name picks one
	@BUILD=$(BUILD) sh tests/run.sh integration $(T)
check-schemas: ready ## the corpus against JSON Schema validators
	@BUILD=$(BUILD) sh tests/run.sh schemas

check-asan: deps ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined check

lint: deps ## clang-tidy, format, headers, banned calls, options, states, function sizes
	@BUILD=$(BUILD) sh tests/lint/run.sh

format: ## rewrite the sources with clang-format
	clang-format -i $$(git ls-files '*.c' '*.h')

install: $(DAEMONS) ## into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/agwb/schemas $(DESTDIR)$(PREFIX)/share/doc/agwb
	install -m 755 $(DAEMONS) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 schemas/*.json schemas/*.yaml $(DESTDIR)$(PREFIX)/share/agwb/schemas/
	install -m 644 etc/agwb.cfg README.md $(DESTDIR)$(PREFIX)/share/doc/agwb/

clean: ## remove everything that was built
	rm -rf $(BUILD)
