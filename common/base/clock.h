/* The clocks. Deadlines use the monotonic one; leases and timeouts that must notice a suspended machine
 * use boottime; only what people or other programs read uses wall time. Tests may set all three by hand. */
#ifndef AGWB_BASE_CLOCK_H
#define AGWB_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_boot_ms(void); /* counts on while the machine or VM is suspended */
int64_t clock_wall_ms(void); /* Unix time in milliseconds */

/* "2026-11-20T21:31:00.123Z" and a final NUL, 25 bytes in all. */
void clock_iso8601(int64_t wall_ms, char out[25]);

/* Test only: from now on every clock stands at this many milliseconds (boottime and monotonic `mono_ms`). */
void clock_fake(int64_t mono_ms, int64_t wall_ms);
/* Test only: back to the real clocks. */
void clock_real(void);

#endif
