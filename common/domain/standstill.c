/* Two looks at the least, STANDSTILL_MS apart. */
#include "domain/standstill.h"

bool standstill_look(struct standstill *s, bool is_waiting, uint64_t done, int64_t now_ms)
{
    if (!is_waiting || !s->is_waiting || done != s->done)
        *s = (struct standstill){.is_waiting = is_waiting, .since_ms = now_ms, .done = done};
    s->is_reached = is_waiting && now_ms - s->since_ms >= STANDSTILL_MS;
    return s->is_reached;
}
