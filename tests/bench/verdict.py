"""DESIGN's table of gates, row by row: each round's value, their median, and whether a gate holds, is missed, or cannot be judged in this run."""

import statistics

QUIET = 0.1  # of the machine: what others may use beside a part
SCATTER = 2  # how far the servers alone may vary between the rounds
CLOSE = 1.1  # how far apart rounds may be that fall on both sides of a gate
MANY = 5  # rounds, of which the least and the most may lie anywhere
ALONE = ("broker alone", "rows alone", "http alone")


class Gate:
    """value: of one round's {part: result}. gate None: only reported. steady: others on the machine cannot change it."""

    def __init__(self, what, parts, value, gate=None, aim=None, unit="", at_least=False, steady=False):
        self.what, self.parts, self.value, self.gate, self.aim = what, parts, value, gate, aim
        self.unit, self.at_least, self.steady = unit, at_least, steady

    def holds(self, value, bound):
        return value >= bound if self.at_least else value <= bound


def plain(what, part, key, gate=None, aim=None, unit="", **more):
    return Gate(what, [part], lambda r: r[part][key], gate, aim, unit, **more)


def ratio(what, part, other, key, gate=None, aim=None, **more):
    return Gate(what, [part, other], lambda r: r[part][key] / r[other][key], gate, aim, "x", **more)


def share(slots, gate, aim):
    part = f"consume 50 ms, {slots}"
    return Gate(f"provider takes 50 ms, share at {slots}", [part], lambda r: r[part]["rate"] * 0.05 / slots, gate, aim, at_least=True)


def own_cpu(what, parts, gate, aim):
    """The same work, run twice in a round."""
    return Gate(what, parts, lambda r: statistics.mean(r[p]["own_ms"] for p in parts), gate, aim, "ms/1k")


def per_row(what, part, before, after, gate=None, aim=None, upkeep=False):
    """PostgreSQL's CPU for the statements, between two runs without the burden, as the machine drifts meanwhile; what it does by the clock falls into a
    run of seconds or does not."""
    def cost(result):
        return result["pg_ms"] - (0 if upkeep else result["upkeep_ms"])
    return Gate(what, [part, before, after], lambda r: 2 * cost(r[part]) / (cost(r[before]) + cost(r[after])), gate, aim, "x")


def astray(what, part):
    return Gate(what, [part], lambda r: r[part]["duplicates"] + abs(r[part]["lost"]), 0, 0, steady=True)


BACKLOG, AGAIN, MILLION, ONE = "publish, 200k backlog", "publish, 20k again", "publish, a million finished", "publish, 1 instance"
GATES = [
    ratio("publisher rows/s against PostgreSQL alone", "publish", "rows alone", "rate", 0.55, 0.8, at_least=True),
    own_cpu("publisher's own CPU", ["publish", AGAIN], 15, 5),
    plain("row committed to ag_queue, p50", "latency", "p50_ms", 1.5, 0.8, "ms"),
    plain("row committed to ag_queue, p99", "latency", "p99_ms", 6, 2, "ms"),
    ratio("consumer msgs/s against HTTP alone", "consume", "http alone", "rate", 0.17, 0.3, at_least=True),
    share(10, 0.9, 0.95),
    share(100, 0.88, 0.93),
    share(500, 0.7, 0.85),
    own_cpu("consumer's own CPU at prefetch 100", ["consume", "consume, 1 instance"], 60, 30),
    per_row("PostgreSQL CPU a row, 10x backlog", BACKLOG, "publish", AGAIN, 1.25, 1.1),
    per_row("PostgreSQL CPU a row, a million finished", MILLION, AGAIN, ONE, 1.25, 1.1),
    plain("statements that grow or read from end to end", "plans", "bad", 0, 0, steady=True),
    ratio("four publishers against one, rate", "publish, 4 instances", ONE, "rate", 0.9, 1.0, at_least=True),
    astray("four publishers, duplicates and losses", "publish, 4 instances"),
    ratio("four consumers against one, rate", "consume, 4 instances", "consume, 1 instance", "rate", 0.9, 1.0, at_least=True),
    astray("four consumers, duplicates and losses", "consume, 4 instances"),
    plain("publisher's peak memory", "publish", "peak_mb", 16, 10, "MB", steady=True),
    plain("consumer's peak memory", "consume", "peak_mb", 20, 14, "MB", steady=True),
    plain("idle CPU, publisher", "idle", "publisher_s", 0.2, 0.05, "s/min"),
    plain("idle CPU, consumer", "idle", "consumer_s", 0.2, 0.05, "s/min"),
    per_row("10x backlog, autovacuum and checkpoints included", BACKLOG, "publish", AGAIN, upkeep=True),
    per_row("a million finished, the same", MILLION, AGAIN, ONE, upkeep=True),
    ratio("PostgreSQL's own way, two runs alike", AGAIN, "publish", "pg_ms"),
    ratio("replies that answer jobs against those that do not", "consume, answers to jobs", "consume", "rate"),
    ratio("default limits against none", "consume, default limits", "consume, answers to jobs", "rate"),
    ratio("three nodes against one, publisher", "publish, 3 nodes", AGAIN, "rate"),
    ratio("three nodes against one, consumer", "consume, 3 nodes", "consume", "rate"),
    ratio("three nodes against one, row to ag_queue, p50", "latency, 3 nodes", "latency", "p50_ms"),
]


# --- judging ---------------------------------------------------------------------------------------------------------------


def scatter(results):
    """The largest max/min of what has nothing to do with us; None of one round."""
    spreads = [max(rates) / min(rates) for rates in ([r["rate"] for r in results.get(p, [])] for p in ALONE) if len(rates) > 1]
    return max(spreads, default=None)


def rounds_of(gate, results):
    """[(value, the share of the machine that others had)] of the rounds in which all of its parts ran."""
    known = []
    for number in range(max((len(r) for r in results.values()), default=0)):
        parts = {p: results[p][number] for p in gate.parts if len(results.get(p, [])) > number}
        if len(parts) == len(gate.parts):
            known.append((gate.value(parts), max(r["disturbed"] for r in parts.values())))
    return known


def why_not(gate, known, wild):
    """Why nothing follows from these rounds; None when something does."""
    quiet = sorted(value for value, disturbed in known if disturbed <= QUIET)
    if len(quiet) * 2 <= len(known):
        return f"others used {statistics.median(d for _, d in known):.0%} of the machine"
    if wild:
        return "the servers alone vary too much"
    inner = quiet[1:-1] if len(quiet) >= MANY else quiet
    sides = {gate.holds(v, gate.gate) for v in inner} if gate.gate is not None else ()
    if len(sides) > 1 and inner[-1] > CLOSE * inner[0]:
        return "the rounds disagree"
    return None


def judge_gate(gate, results, wild):
    known = rounds_of(gate, results)
    if not known:
        return None
    values = [v for v, disturbed in known if gate.steady or disturbed <= QUIET] or [v for v, _ in known]
    middle = statistics.median(values)
    judged = {"what": gate.what, "parts": gate.parts, "unit": gate.unit, "gate": gate.gate, "aim": gate.aim, "at_least": gate.at_least, "value": middle,
              "least": min(values), "most": max(values), "rounds": [{"value": v, "disturbed": d} for v, d in known]}
    reason = None if gate.steady else why_not(gate, known, wild)
    if gate.gate is None:
        return judged | {"verdict": "reported"} | ({"why": reason} if reason else {})
    if reason:
        return judged | {"verdict": "not judged", "why": reason}
    if gate.steady:  # one duplicate in one round is one too many
        middle = max(values)
    word = "aim reached" if gate.holds(middle, gate.aim) else "holds" if gate.holds(middle, gate.gate) else "MISSED"
    return judged | {"verdict": word}


def judge(results):
    spread = scatter(results)
    wild = spread is not None and spread > SCATTER
    return [judged for judged in (judge_gate(g, results, wild) for g in GATES) if judged]


def unjudged_parts(judged):
    return {part for row in judged if row["verdict"] == "not judged" for part in row["parts"]}


# --- printing --------------------------------------------------------------------------------------------------------------


def median(results, part, key):
    values = [r[key] for r in results.get(part, []) if key in r]
    return statistics.median(values) if values else None


def print_results(results):
    print(f"\n{'':28}{'per s':>8}{'min':>8}{'max':>8}{'own':>8}{'pg':>8}{'upkeep':>8}{'broker':>8}{'peak MB':>9}{'others':>8}")
    for part, rounds in results.items():
        rates = [r["rate"] for r in rounds if "rate" in r]
        if not rates:
            continue
        cells = [median(results, part, k) for k in ("own_ms", "pg_ms", "upkeep_ms", "broker_ms", "peak_mb")]
        text = "".join(f"{c:>{w}.1f}" if c is not None else " " * w for c, w in zip(cells, (8, 8, 8, 8, 9)))
        print(f"{part:28}{statistics.median(rates):>8.0f}{min(rates):>8.0f}{max(rates):>8.0f}{text}{max(r['disturbed'] for r in rounds):>8.0%}")
    print("own, pg, broker: CPU milliseconds per 1,000 messages; upkeep: autovacuum, checkpoints and background writer, a part of pg; others: the share of\n"
          "the machine that foreign processes or the host had, at worst")
    for part, rounds in results.items():
        vacuums, checkpoints = (sum(r.get(k, 0) for r in rounds) for k in ("autovacuums", "checkpoints"))
        if vacuums or checkpoints:
            print(f"    {part}: {vacuums} autovacuums, {checkpoints} checkpoints while it was measured")


def number(value):
    return f"{value:.0f}" if value == int(value) and value < 1000 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def print_gates(judged):
    print(f"\n{'':51}{'median':>8}{'min':>8}{'max':>8}{'gate':>7}{'aim':>7}")
    for g in judged:
        bounds = "".join(f"{'' if b is None else b:>7}" for b in (g["gate"], g["aim"]))
        why = f": {g['why']}" if "why" in g else ""
        print(f"{g['what']:51}{number(g['value']):>8}{number(g['least']):>8}{number(g['most']):>8}{bounds}  {g['unit']:6}{g['verdict']}{why}")


def conclude(judged, results, rounds):
    """Says what the run is worth; the exit status."""
    missed, open_ = (sum(g["verdict"] == word for g in judged) for word in ("MISSED", "not judged"))
    spread = scatter(results)
    print()
    if rounds < 2 or spread is None:
        print("one round: how far the figures scatter is not known")
    else:
        print(f"what the servers do alone varied by {spread:.2f}x between the rounds")
    if missed:
        print(f"{missed} gates MISSED" + (f"; {open_} not judged" if open_ else ""))
    elif open_:
        print(f"TOO NOISY: {open_} gates could not be judged, nothing follows from this run; run it again on a quiet machine")
    else:
        gates = sum(g["gate"] is not None for g in judged)
        print("all gates hold" if gates == sum(g.gate is not None for g in GATES) else f"the {gates} gates of these parts hold, the others were not measured")
    return 1 if missed else 3 if open_ else 0
