/* What the files of the json module share. */
#ifndef AGWB_BASE_JSON_PRIVATE_H
#define AGWB_BASE_JSON_PRIVATE_H

#include "base/json.h"

/* json_scan with the limits of json_parse_foreign; \u0000 and half surrogate pairs are faults here too. */
int json_scan_foreign(const char *bytes, size_t len, struct err *e) MUST_CHECK;

#endif
