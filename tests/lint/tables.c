/* Prints the tables that other files must agree with, one "kind<tab>word[<tab>default]" a line; tables.py
 * compares. */
#include <stdio.h>

#include "consumer/delivery.h"
#include "consumer/disposition.h"
#include "consumer/outcome.h"
#include "domain/config.h"
#include "domain/schema.h"

int main(void)
{
    for (size_t i = 0; i < config_option_count(); i++) {
        struct config_option_info option = config_option_at(i);
        printf("option\t%s\t%s\n", option.name, option.default_text);
    }
    for (int s = 0; s < DELIVERY_STATE_COUNT; s++)
        printf("state\t%s\n", delivery_state_name((enum delivery_state)s));
    for (int o = 0; o < OUTCOME_COUNT; o++)
        printf("outcome\t%s\n", outcome_name((enum outcome)o));
    for (int k = 0; k < DISPOSITION_COUNT; k++)
        printf("disposition\t%s\n", disposition_name((enum disposition_kind)k));
    printf("schema\t%d\n", SCHEMA_VERSION);
    return 0;
}
