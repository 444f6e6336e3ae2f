/* `doctor` of both programs: whatever must be right for them to work is looked at from here, with the way out
 * of what is not. Nothing is changed on any server. */
#ifndef AGWB_DOMAIN_DOCTOR_H
#define AGWB_DOMAIN_DOCTOR_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "domain/config.h"

struct doctor;

/* A finding, written at once. name: "queue wb_queue"; the text says what was seen. */
void doctor_ok(struct doctor *d, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* It works, but a person should know. fix: what to do; NULL when the text says it. */
void doctor_warn(struct doctor *d, const char *name, const char *fix, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* It does not work: ERR_CONFIG when someone must change something, else a service is away. */
void doctor_fail(struct doctor *d, const char *name, const char *fix, const struct err *why);

/* What only one of the programs looks at; may be NULL. Runs last. */
typedef void doctor_more_fn(struct doctor *d, const struct config *c);

/* The whole command, for a wrapper of the program's own: 0, or -1 and err whose class is that of the worst
 * finding. */
int doctor_run(const struct config *c, int argc, char **argv, doctor_more_fn *more, struct err *e);

struct doctor_options {
    bool json, help, no_providers;
};
int doctor_options_parse(int argc, char **argv, struct doctor_options *o, struct err *e) MUST_CHECK;
/* What --no-providers says. */
bool doctor_asks_providers(const struct doctor *d);

#endif
