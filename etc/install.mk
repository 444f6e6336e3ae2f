# Installation and packages: what stands in etc/ beside the programs. Included by the Makefile.

BINDIR        ?= $(PREFIX)/bin
DATADIR       ?= $(PREFIX)/share
UNITDIR       ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR   ?= $(PREFIX)/lib/sysusers.d
DOCDIR        ?= $(DATADIR)/doc/agwb
MANDIR        ?= $(DATADIR)/man
COMPLETIONDIR ?= $(DATADIR)/bash-completion/completions

# --- made from sources ------------------------------------------------------------------------------------------------------
UNITS := $(foreach d,publisher consumer,$(BUILD)/etc/agwb-$(d).service $(BUILD)/etc/agwb-$(d)@.service)
MANUALS := etc/man/agwb-publisher.8 etc/man/agwb-consumer.8 $(BUILD)/etc/agwb.cfg.5

about_publisher := inbound messages to an AI agent
about_consumer  := an AI agent's replies to WhatsApp and SMS

# An instance is named by the port of its /metrics, so that no two on one machine meet there.
fill_in = sed -e "/^\#\#/d" -e "s|@DAEMON@|$(1)|g" -e "s|@ABOUT@|$(about_$(1))$(if $(2), (%i))|" -e "s|@BINDIR@|$(BINDIR)|g" \
    -e "s|@INSTANCE@|$(if $(2), --set $(1).metrics_listen=127.0.0.1:%i)|"

# Made anew each time, since PREFIX may be another one.
.PHONY: always
$(BUILD)/etc/agwb-%@.service: etc/systemd/agwb-daemon.service.in always
	@mkdir -p $(@D)
	@$(call fill_in,$*,instance) $< > $@
$(BUILD)/etc/agwb-%.service: etc/systemd/agwb-daemon.service.in always
	@mkdir -p $(@D)
	@$(call fill_in,$*) $< > $@

$(BUILD)/etc/options: $(BUILD)/obj/etc/man/options.o $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/etc/agwb.cfg.5: etc/man/agwb.cfg.5.in $(BUILD)/etc/options
	@$(BUILD)/etc/options > $@.options
	@sed -e '/^@OPTIONS@$$/{r $@.options' -e 'd}' -e '/^\.\\" @OPTIONS@/d' $< > $@

.PHONY: build-etc
build-etc: $(UNITS) $(MANUALS)

# --- make install -----------------------------------------------------------------------------------------------------------
# Nothing is started or enabled, and nothing is written to /etc; README.md has the next steps.
samples = $(DATADIR)/agwb/$(1)
.PHONY: uninstall
install: $(DAEMONS) build-etc ## into $(DESTDIR)$(PREFIX): programs, units, manuals, completion, samples
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8 \
	    $(DESTDIR)$(COMPLETIONDIR) $(DESTDIR)$(DOCDIR) \
	    $(foreach s,schemas ops systemd postgresql rabbitmq prometheus grafana docker,$(DESTDIR)$(call samples,$(s)))
	install -m 755 $(DAEMONS) $(DESTDIR)$(BINDIR)/
	install -m 644 $(UNITS) etc/systemd/agwb.target $(DESTDIR)$(UNITDIR)/
	install -m 644 etc/systemd/agwb.sysusers $(DESTDIR)$(SYSUSERSDIR)/agwb.conf
	install -m 644 $(filter %.8,$(MANUALS)) $(DESTDIR)$(MANDIR)/man8/
	install -m 644 $(filter %.5,$(MANUALS)) $(DESTDIR)$(MANDIR)/man5/
	install -m 644 etc/completion/agwb $(DESTDIR)$(COMPLETIONDIR)/agwb-publisher
	ln -sf agwb-publisher $(DESTDIR)$(COMPLETIONDIR)/agwb-consumer
	install -m 644 etc/agwb.cfg README.md $(DESTDIR)$(DOCDIR)/
	install -m 644 schemas/*.json schemas/*.yaml $(DESTDIR)$(call samples,schemas)/
	install -m 755 etc/ops/agwb-* $(DESTDIR)$(call samples,ops)/
	install -m 644 etc/systemd/credentials.conf $(DESTDIR)$(call samples,systemd)/
	for folder in postgresql rabbitmq prometheus grafana docker; do \
	    [ ! -d etc/$$folder ] || cp -R etc/$$folder/. $(DESTDIR)$(call samples,$$folder)/ || exit; done

uninstall: ## take away what install put there; the configuration and the user stay
	rm -f $(foreach d,publisher consumer,$(DESTDIR)$(BINDIR)/agwb-$(d) $(DESTDIR)$(MANDIR)/man8/agwb-$(d).8 \
	    $(DESTDIR)$(COMPLETIONDIR)/agwb-$(d) $(DESTDIR)$(UNITDIR)/agwb-$(d).service $(DESTDIR)$(UNITDIR)/agwb-$(d)@.service) \
	    $(DESTDIR)$(UNITDIR)/agwb.target $(DESTDIR)$(SYSUSERSDIR)/agwb.conf $(DESTDIR)$(MANDIR)/man5/agwb.cfg.5
	rm -rf $(DESTDIR)$(DATADIR)/agwb $(DESTDIR)$(DOCDIR)

# --- make deb ---------------------------------------------------------------------------------------------------------------
DEB_TREE := $(BUILD)/deb/agwb-$(VERSION)
.PHONY: deb
deb: ## the Debian package, into $(BUILD)/deb; needs what `apt-get build-dep ./etc` installs
	@rm -rf $(BUILD)/deb && mkdir -p $(DEB_TREE)
	@[ "$$(dpkg-parsechangelog -l etc/debian/changelog -S Version)" = "$(VERSION)" ] || \
	    { echo "make deb: etc/debian/changelog is not about version $(VERSION)" >&2; exit 1; }
	@cp -R Makefile publisher consumer common schemas etc README.md $(DEB_TREE)/ && mv $(DEB_TREE)/etc/debian $(DEB_TREE)/debian
	@# with nothing of this make's own settings: BUILD and PREFIX would reach the package's make
	cd $(DEB_TREE) && env -i PATH="$$PATH" HOME="$$HOME" LANG=C.UTF-8 dpkg-buildpackage --build=binary --no-sign
	@ls $(BUILD)/deb/*.deb
