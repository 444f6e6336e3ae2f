/* Lines are made whole in one buffer and written at once, so that the bar never flickers into them. */
#include "tests/demo/screen.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/utf8.h"

enum { USUAL_WIDTH = 116, LEAST_WIDTH = 76, GREATEST_WIDTH = 132, LINE_MAX_BYTES = 8192, GAP = 2 };

struct glyphs {
    const char *arrow, *cross, *good, *bad, *bar, *rest, *cut;
};
static const struct glyphs PLAIN_GLYPHS = {">", "x", "ok  ", "FAIL", "#", "-", "~"};
static const struct glyphs UTF8_GLYPHS = {"→", "×", "✓", "✗", "━", "─", "…"};

struct screen {
    struct buf line;
    const struct glyphs *glyphs;
    bool is_terminal, has_colours;
    bool has_bar; /* the cursor stands behind it */
    size_t bar_came, bar_settled;
    size_t width;
};

struct screen *screen_new(void)
{
    struct screen *s = xcalloc(1, sizeof *s);
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size;

    setlocale(LC_CTYPE, "");
    s->glyphs = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? &UTF8_GLYPHS : &PLAIN_GLYPHS;
    s->is_terminal = isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
    s->has_colours = s->is_terminal && (no_colour == NULL || no_colour[0] == '\0');
    s->width = USUAL_WIDTH;
    if (s->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        s->width = size.ws_col < LEAST_WIDTH      ? LEAST_WIDTH
                   : size.ws_col > GREATEST_WIDTH ? GREATEST_WIDTH
                                                  : size.ws_col;
    buf_init(&s->line, LINE_MAX_BYTES);
    return s;
}

/* --- pieces --- */

static void begin_line(struct screen *s)
{
    buf_clear(&s->line);
    if (s->has_bar)
        buf_add_str(&s->line, "\r\033[K");
    s->has_bar = false;
}

static void write_out(struct screen *s)
{
    fwrite(s->line.data, 1, s->line.len, stdout);
    fflush(stdout);
}

static void end_line(struct screen *s)
{
    while (s->line.len > 0 && s->line.data[s->line.len - 1] == ' ')
        s->line.len--;
    buf_add_char(&s->line, '\n');
    write_out(s);
}

static void begin_tone(struct screen *s, enum screen_tone tone)
{
    static const char *const CODES[] = {[SCREEN_PLAIN] = "",
                                        [SCREEN_FAINT] = "\033[2m",
                                        [SCREEN_GOOD] = "\033[32m",
                                        [SCREEN_ODD] = "\033[33m",
                                        [SCREEN_BAD] = "\033[31m"};

    if (s->has_colours)
        buf_add_str(&s->line, CODES[tone]);
}

static void end_tone(struct screen *s, enum screen_tone tone)
{
    if (s->has_colours && tone != SCREEN_PLAIN)
        buf_add_str(&s->line, "\033[0m");
}

static void add_spaces(struct screen *s, size_t count)
{
    buf_printf(&s->line, "%*s", (int)count, "");
}

/* At most `width` characters. */
static void add_cut(struct screen *s, const char *text, size_t width)
{
    if (utf8_count(text) <= width) {
        buf_add_str(&s->line, text);
    } else {
        buf_add(&s->line, text, utf8_prefix(text, width - 1));
        buf_add_str(&s->line, s->glyphs->cut);
    }
}

/* The last text of a line: only a terminal needs it cut. */
static void add_text(struct screen *s, const char *text, size_t width)
{
    if (s->is_terminal)
        add_cut(s, text, width);
    else
        buf_add_str(&s->line, text);
}

/* Exactly `width` characters and the gap to the next column. NULL = "". */
static void add_column(struct screen *s, const char *text, size_t width)
{
    size_t chars = text ? utf8_count(text) : 0;

    if (chars > 0)
        add_cut(s, text, width);
    add_spaces(s, (chars < width ? width - chars : 0) + GAP);
}

static void add_right(struct screen *s, const char *text, size_t width)
{
    size_t chars = utf8_count(text);

    add_spaces(s, chars < width ? width - chars : 0);
    buf_add_str(&s->line, text);
}

/* --- lines --- */

void screen_free(struct screen **s)
{
    if (*s == NULL)
        return;
    begin_line(*s);
    write_out(*s);
    buf_fini(&(*s)->line);
    free(*s);
    *s = NULL;
}

void screen_say(struct screen *s, enum screen_tone tone, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    begin_line(s);
    begin_tone(s, tone);
    buf_add_str(&s->line, text);
    end_tone(s, tone);
    end_line(s);
}

enum {
    CLOCK_WIDTH = 8,
    WHERE_WIDTH = 9,
    WHO_WIDTH = 21,
    SAID_WIDTH = 43,
    TOOK_WIDTH = 8,
    NARROW = 100,         /* a terminal below this has no room for replies beside what was said, */
    NARROW_WHO_WIDTH = 16 /* nor for long names */
};

struct layout {
    size_t who, said, became; /* 0 = the column is left out */
    size_t odd_said, odd_became;
};

/* The arrow counts as a column of one. */
static struct layout layout_of(const struct screen *s)
{
    bool is_narrow = s->width < NARROW;
    struct layout l = {.who = is_narrow ? NARROW_WHO_WIDTH : WHO_WIDTH};
    size_t rest = s->width - (CLOCK_WIDTH + WHERE_WIDTH + l.who + 1 + TOOK_WIDTH + 5 * GAP);

    if (is_narrow) {
        l.said = rest;
        l.odd_became = rest + TOOK_WIDTH;
        return l;
    }
    rest -= GAP;
    l.said = rest * 3 / 4 < SAID_WIDTH ? rest * 3 / 4 : SAID_WIDTH;
    l.became = rest - l.said;
    l.odd_said = rest / 3;
    l.odd_became = rest + TOOK_WIDTH - l.odd_said;
    return l;
}

static void add_reply(struct screen *s, const struct screen_event *e, const struct layout *l)
{
    char took[24];

    add_column(s, e->said, l->said);
    add_column(s, s->glyphs->arrow, 1);
    if (l->became > 0)
        add_column(s, e->became, l->became);
    snprintf(took, sizeof took, "%.0f ms", e->took_ms);
    begin_tone(s, SCREEN_FAINT);
    add_right(s, took, TOOK_WIDTH);
    end_tone(s, SCREEN_FAINT);
}

/* Here what happened matters more than what was said. */
static void add_oddity(struct screen *s, const struct screen_event *e, const struct layout *l)
{
    if (l->odd_said > 0)
        add_column(s, e->said, l->odd_said);
    begin_tone(s, SCREEN_ODD);
    add_column(s, s->glyphs->cross, 1);
    add_text(s, e->became, l->odd_became);
    end_tone(s, SCREEN_ODD);
}

void screen_event(struct screen *s, const struct screen_event *e)
{
    struct layout layout = layout_of(s);
    time_t seconds = (time_t)(e->wall_ms / 1000);
    char clock[16];
    struct tm tm;

    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&seconds, &tm));
    begin_line(s);
    begin_tone(s, SCREEN_FAINT);
    add_column(s, clock, CLOCK_WIDTH);
    end_tone(s, SCREEN_FAINT);
    add_column(s, e->where, WHERE_WIDTH);
    add_column(s, e->who, layout.who);
    if (e->took_ms >= 0)
        add_reply(s, e, &layout);
    else
        add_oddity(s, e, &layout);
    end_line(s);
}

enum { BAR_TEXT_WIDTH = 44, BAR_MAX = 60 };

void screen_progress(struct screen *s, size_t came, size_t settled, size_t total)
{
    size_t width = s->width - BAR_TEXT_WIDTH < BAR_MAX ? s->width - BAR_TEXT_WIDTH : BAR_MAX;
    size_t full = settled * width / total;

    if (!s->is_terminal || (s->has_bar && s->bar_came == came && s->bar_settled == settled))
        return;
    begin_line(s);
    begin_tone(s, SCREEN_GOOD);
    for (size_t i = 0; i < full; i++)
        buf_add_str(&s->line, s->glyphs->bar);
    end_tone(s, SCREEN_GOOD);
    begin_tone(s, SCREEN_FAINT);
    for (size_t i = full; i < width; i++)
        buf_add_str(&s->line, s->glyphs->rest);
    end_tone(s, SCREEN_FAINT);
    buf_printf(&s->line, "  %zu of %zu in, %zu settled", came, total, settled);
    write_out(s);
    s->has_bar = true;
    s->bar_came = came;
    s->bar_settled = settled;
}

/* --- the table --- */

enum { LABEL_WIDTH = 24, VALUE_WIDTH = 9 };

void screen_row(struct screen *s, const char *label, const char *value, const char *value2,
                const char *remark)
{
    begin_line(s);
    add_spaces(s, GAP);
    add_column(s, label, LABEL_WIDTH);
    add_right(s, value ? value : "", VALUE_WIDTH);
    if (value2) {
        add_spaces(s, GAP);
        add_right(s, value2, VALUE_WIDTH);
    }
    if (remark) {
        add_spaces(s, 2 * GAP);
        begin_tone(s, SCREEN_FAINT);
        add_text(s, remark, s->width - (LABEL_WIDTH + VALUE_WIDTH + 4 * GAP));
        end_tone(s, SCREEN_FAINT);
    }
    end_line(s);
}

void screen_check(struct screen *s, bool good, const char *sentence)
{
    enum screen_tone tone = good ? SCREEN_GOOD : SCREEN_BAD;

    begin_line(s);
    add_spaces(s, GAP);
    begin_tone(s, tone);
    buf_add_str(&s->line, good ? s->glyphs->good : s->glyphs->bad);
    end_tone(s, tone);
    buf_printf(&s->line, " %s", sentence);
    end_line(s);
}
