/* Every fact is computed from its number, nothing is stored. */
#include "tests/demo/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Who is special, whatever N is. */
enum { CUSTOMER_AI_OFF = 2, CUSTOMER_OF_ODDITIES = 1 };
enum { FIRST_REFERENCE = 100000 }; /* six digits for all of PLAN_MAX, so that none is a part of another */

enum id_kind { ID_WORKSPACE = 1, ID_CUSTOMER, ID_CONVERSATION, ID_MESSAGE, ID_JOB };

static void make_id(enum id_kind kind, size_t n, char out[UUID_TEXT_LEN + 1])
{
    snprintf(out, UUID_TEXT_LEN + 1, "de300000-000%d-4000-8000-%012zx", (int)kind, n);
}

/* A number that looks random and is the same each time (splitmix64's mixer). */
static size_t scatter(size_t n, size_t below)
{
    uint64_t z = (uint64_t)n * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((z ^ (z >> 31)) % below);
}

void plan_init(struct plan *p, size_t inbound_count)
{
    p->inbound_count = inbound_count;
    p->customer_count = inbound_count / 5 > 8 ? inbound_count / 5 : 8;
}

/* --- workspaces and what people write to them --- */

struct topic {
    const char *text; /* '@' becomes a reference number */
    const char *task_type;
};

enum { TOPICS = 8 };

struct business {
    const char *name, *whatsapp; /* its provider there */
    struct topic topics[TOPICS];
};

static const struct business BUSINESSES[PLAN_WORKSPACES] = {
    {"Blue Door Books",
     "wasender",
     {{"Is my order @ on its way?", "order"},
      {"Order @ came with a torn cover", "order"},
      {"Can you gift-wrap order @, please?", "order"},
      {"Do you have item @ in hardcover?", "search"},
      {"¿Ha llegado ya mi pedido @?", "order"},
      {"Wrong address on order @, sorry!", "order"},
      {"Is the book club on Friday? Ticket @", "conversation"},
      {"Please cancel order @", "order"}}},
    {"Harbour Dental",
     "whatsapp_cloud",
     {{"Can I move appointment @ to Friday?", "appointment"},
      {"Running 10 min late for @", "appointment"},
      {"Please cancel appointment @", "appointment"},
      {"Invoice @ looks wrong to me", "conversation"},
      {"Is parking free? I have booking @", "conversation"},
      {"Ai-je bien rendez-vous demain ? Réf. @", "appointment"},
      {"Do you take my insurance? Policy @", "search"},
      {"Thank you! See you soon, @", "conversation"}}},
    {"Cedar & Oak Furniture",
     "evolution",
     {{"Do you still have item @ in oak?", "search"},
      {"When will sofa @ be delivered?", "order"},
      {"One screw is missing in set @", "conversation"},
      {"Passt Tisch @ durch eine 80er Tür?", "search"},
      {"May I return lamp @?", "order"},
      {"Can somebody call me about quote @?", "conversation"},
      {"Book a kitchen planning, customer @", "appointment"},
      {"Is the sale price of @ still good?", "search"}}},
};

void plan_workspace(size_t n, struct plan_workspace *w)
{
    make_id(ID_WORKSPACE, n, w->id);
    w->name = BUSINESSES[n].name;
}

static void fill_in(const char *pattern, size_t reference, char text[PLAN_TEXT_SIZE])
{
    size_t before = strcspn(pattern, "@");

    if (pattern[before] == '@')
        snprintf(text, PLAN_TEXT_SIZE, "%.*s%zu%s", (int)before, pattern, reference, pattern + before + 1);
    else
        snprintf(text, PLAN_TEXT_SIZE, "%s", pattern);
}

/* --- customers --- */

static const char *const NAMES[] = {
    "Amara",  "Noah",   "Zoë",       "Mateo",  "Ingrid", "Kofi",    "Lucía",  "Tariq",   "Hannah", "Jürgen",
    "Priya",  "Sam",    "Elena",     "Bakari", "Maeve",  "Omar",    "Renée",  "Hiroshi", "Nadia",  "Piotr",
    "Grace",  "André",  "Leila",     "Viktor", "Chidi",  "Sofia",   "Ravi",   "Astrid",  "Diego",  "Fatima",
    "George", "Ximena", "Björn",     "Yara",   "Thomas", "Wanjiru", "Giulia", "Emeka",   "Anke",   "Marek",
    "Salma",  "Pedro",  "Charlotte", "Idris",  "Mila",   "Tomás",   "Aisha",  "Ruth",
};
enum { NAME_COUNT = sizeof NAMES / sizeof NAMES[0] };

static void make_name(size_t n, char name[48])
{
    size_t round = n / NAME_COUNT;

    if (round == 0)
        snprintf(name, 48, "%s", NAMES[n % NAME_COUNT]);
    else
        snprintf(name, 48, "%s %c.", NAMES[n % NAME_COUNT], (char)('A' + (round - 1) % 26));
}

/* Numbers set aside for fiction: 555-0100 to 555-0199 of an area code each. */
static void make_number(size_t n, char number[17])
{
    snprintf(number, 17, "+1%03zu55501%02zu", 202 + n / 100 % 788, (43 + n * 7) % 100);
}

void plan_customer(size_t n, struct plan_customer *c)
{
    static const char *const NOTES[] = {"VIP customer - priority support", "Prefers short answers", NULL,
                                        NULL, NULL};

    *c = (struct plan_customer){.workspace = n % PLAN_WORKSPACES,
                                .channel = scatter(n, 10) < 3 ? CHANNEL_SMS : CHANNEL_WHATSAPP,
                                .has_number = true,
                                .ai_enabled = n != CUSTOMER_AI_OFF,
                                .notes = NOTES[scatter(n + 17, sizeof NOTES / sizeof NOTES[0])],
                                .history_count = scatter(n + 31, PLAN_HISTORY_MAX + 1)};
    make_id(ID_CUSTOMER, n, c->id);
    make_id(ID_CONVERSATION, n, c->conversation_id);
    make_name(n, c->name);
    make_number(n, c->number);
    c->provider = c->channel == CHANNEL_SMS ? "twilio" : BUSINESSES[c->workspace].whatsapp;
    if (c->channel == CHANNEL_WHATSAPP) {
        snprintf(c->jid, sizeof c->jid, "%s@s.whatsapp.net", c->number + 1);
        c->has_number = scatter(n + 47, 3) != 0;
    }
}

void plan_history_text(const struct plan_customer *c, size_t n, char text[PLAN_TEXT_SIZE])
{
    static const char *const ANSWERS[] = {
        "Hello! Let me look that up for you.", "That is arranged. Anything else?",
        "Of course. You will get a confirmation for @.", "Yes, until Saturday."};
    size_t which = scatter(n + strlen(c->name) * 100, 1000);
    size_t reference = FIRST_REFERENCE - 1 - which;

    if (n % 2 == 0)
        fill_in(BUSINESSES[c->workspace].topics[which % TOPICS].text, reference, text);
    else
        fill_in(ANSWERS[which % 4], reference, text);
}

/* --- messages --- */

static size_t refused_at(const struct plan *p)
{
    return p->inbound_count / 4;
}

static size_t failed_at(const struct plan *p)
{
    return p->inbound_count / 2;
}

static size_t answered_twice_at(const struct plan *p)
{
    return p->inbound_count * 3 / 4;
}

/* Now and then someone writes again at once; the special messages have their own senders, so that each N has
 * each of them. */
static size_t sender_of(const struct plan *p, size_t n)
{
    if (n == refused_at(p))
        return CUSTOMER_AI_OFF;
    if (n == failed_at(p) || n == answered_twice_at(p))
        return CUSTOMER_OF_ODDITIES;
    return scatter(n > 0 && scatter(n, 4) == 0 ? n - 1 : n, p->customer_count);
}

static int priority_of(size_t n)
{
    size_t dice = scatter(n + 5, 20);

    return dice == 0 ? 1 : dice < 4 ? 3 : 5;
}

void plan_inbound(const struct plan *p, size_t n, struct plan_inbound *m)
{
    *m = (struct plan_inbound){.customer = sender_of(p, n),
                               .answered_twice = n == answered_twice_at(p),
                               .priority = priority_of(n),
                               .is_minimal = scatter(n + 3, 2) == 0};
    const struct topic *topic = &BUSINESSES[m->customer % PLAN_WORKSPACES].topics[scatter(n + 7, TOPICS)];

    make_id(ID_JOB, n, m->job_id);
    make_id(ID_MESSAGE, n, m->message_id);
    fill_in(topic->text, FIRST_REFERENCE + n, m->text);
    m->task_type = topic->task_type;
    if (m->customer == CUSTOMER_AI_OFF)
        m->fate = PLAN_REFUSED;
    else if (n == failed_at(p))
        m->fate = PLAN_FAILED;
    else if (!m->answered_twice && scatter(n + 11, 2) == 0)
        m->door = PLAN_WEBHOOK;
}

bool plan_find_job(const struct plan *p, const char *job_id, size_t *n)
{
    char id[UUID_TEXT_LEN + 1];

    if (!is_uuid(job_id))
        return false;
    *n = (size_t)strtoull(job_id + 24, NULL, 16);
    make_id(ID_JOB, *n, id);
    return *n < p->inbound_count && strcmp(id, job_id) == 0;
}

/* Each message has its reference number, and no other six digits. */
bool plan_find_text(const struct plan *p, const char *text, size_t *n)
{
    static const char DIGITS[] = "0123456789";

    for (text += strcspn(text, DIGITS); *text; text += strcspn(text, DIGITS)) {
        size_t length = strspn(text, DIGITS);
        size_t number = (size_t)strtoull(text, NULL, 10);
        if (length == 6 && number >= FIRST_REFERENCE && number - FIRST_REFERENCE < p->inbound_count) {
            *n = number - FIRST_REFERENCE;
            return true;
        }
        text += length;
    }
    return false;
}

void plan_reply_text(const struct plan_inbound *m, const char *job_id, char text[PLAN_TEXT_SIZE + 64])
{
    if (m->fate == PLAN_FAILED)
        snprintf(text, PLAN_TEXT_SIZE + 64, "%s", PLAN_FALLBACK_TEXT);
    else
        snprintf(text, PLAN_TEXT_SIZE + 64, "Re: %s #%s", m->text, job_id);
}

bool plan_find_reply(const struct plan *p, const char *text, size_t *n)
{
    *n = failed_at(p);
    return strcmp(text, PLAN_FALLBACK_TEXT) == 0 || plan_find_text(p, text, n);
}

size_t plan_expected(const struct plan *p, enum plan_fate fate)
{
    struct plan_inbound m;
    size_t count = 0;

    for (size_t n = 0; n < p->inbound_count; n++) {
        plan_inbound(p, n, &m);
        count += m.fate == fate;
    }
    return count;
}

/* --- time --- */

enum { USUAL_COUNT = 200, USUAL_DURATION_S = 7, MESSAGES_PER_S = 300 };

double plan_duration_s(const struct plan *p)
{
    if (p->inbound_count <= USUAL_COUNT)
        return USUAL_DURATION_S * (0.4 + 0.6 * (double)p->inbound_count / USUAL_COUNT);
    return USUAL_DURATION_S + (double)(p->inbound_count - USUAL_COUNT) / MESSAGES_PER_S;
}

double plan_due_s(const struct plan *p, size_t n)
{
    double share = (double)n / (double)p->inbound_count;

    return plan_duration_s(p) * (share + 0.04 * sin(4 * M_PI * share));
}

/* --- the agent's part --- */

void plan_write_agent_script(const struct plan *p, struct buf *out)
{
    buf_printf(out,
               "{\"rules\": [{\"text\": \"%zu\", \"times\": -1, \"markers\": \"[error MODEL_OVERLOADED]\"},\n"
               "           {\"text\": \"%zu\", \"times\": -1, \"markers\": \"[duplicate]\"}]}\n",
               FIRST_REFERENCE + failed_at(p), FIRST_REFERENCE + answered_twice_at(p));
}
