"""Throughput above, cost below, against the backlog and against the number of instances: one SVG."""

import statistics

from verdict import QUIET, median

COSTS = [("own_ms", "daemon", "#2f6d5b"), ("pg_ms", "PostgreSQL", "#4a7fb5"), ("broker_ms", "RabbitMQ", "#d98c3f")]
PANELS = [
    ("Publisher: rows waiting", [("20k", "publish"), ("60k", "publish, 60k backlog"), ("200k", "publish, 200k backlog"),
                                 ("20k, 1M done", "publish, a million finished")]),
    ("Publisher: instances", [("1", "publish, 1 instance"), ("2", "publish, 2 instances"), ("4", "publish, 4 instances")]),
    ("Consumer: instances", [("1", "consume, 1 instance"), ("2", "consume, 2 instances"), ("4", "consume, 4 instances")]),
    ("Broker nodes", [("publish, 1", "publish"), ("publish, 3", "publish, 3 nodes"), ("consume, 1", "consume"), ("consume, 3", "consume, 3 nodes")]),
]
STEP, BAR, GAP, LEFT = 84, 48, 30, 70
RATE_TOP, RATE_FOOT, COST_TOP, COST_FOOT = 80, 260, 320, 480
GREY = "#666"


def text(x, y, words, size=12, anchor="middle", color="#222", more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{more}>{words}</text>'


def line(x1, y1, x2, y2, color="#ddd"):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def rect(x, y, height, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{BAR}" height="{height:.1f}" fill="{color}"/>'


def nice(top):
    """The axis's end: 1, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 1
    while power * 10 <= top:
        power *= 10
    return next(power * m for m in (1, 2, 3, 4, 5, 6, 8, 10) if power * m >= top)


def grid(top, y0, y1, right):
    out = []
    for i in range(5):
        y = y1 - (y1 - y0) * i / 4
        out += [line(LEFT - 6, y, right, y), text(LEFT - 10, y + 4, f"{top * i / 4:,.0f}", 11, "end", GREY)]
    return out


def rate_bar(x, rates, top):
    def at(rate):
        return RATE_FOOT - (RATE_FOOT - RATE_TOP) * rate / top
    middle, y = x + BAR / 2, at(statistics.median(rates))
    out = [rect(x, y, RATE_FOOT - y, "#7a8fa6"), text(middle, at(max(rates)) - 6, f"{statistics.median(rates):,.0f}", 11)]
    if len(rates) > 1:
        out += [line(middle, at(min(rates)), middle, at(max(rates)), "#222"),
                *(line(middle - 6, at(r), middle + 6, at(r), "#222") for r in (min(rates), max(rates)))]
    return out


def cost_bar(x, costs, top):
    out, y = [], COST_FOOT
    for (_, _, color), cost in zip(COSTS, costs):
        height = (COST_FOOT - COST_TOP) * cost / top
        y -= height
        out.append(rect(x, y, height, color))
        if height > 13:
            out.append(text(x + BAR / 2, y + height / 2 + 4, f"{cost:.0f}", 11, color="white"))
    return [*out, text(x + BAR / 2, y - 6, f"{sum(costs):.0f}", 11)]


def legend():
    out, x = [], LEFT
    for _, name, color in COSTS:
        out += [f'<rect x="{x}" y="{COST_FOOT + 38}" width="12" height="12" fill="{color}"/>', text(x + 18, COST_FOOT + 48, name, 12, "start")]
        x += 110
    return out


def panel(x, title, points, tops):
    out = [text(x, 44, title, 14, "start", more=' font-weight="bold"')]
    for i, (label, rates, costs) in enumerate(points):
        at = x + i * STEP
        out += [*rate_bar(at, rates, tops[0]), *cost_bar(at, costs, tops[1])]
        out += [text(at + BAR / 2, foot + 17, label, 11, color=GREY) for foot in (RATE_FOOT, COST_FOOT)]
    return out


def draw(results, path):
    panels = []
    for title, named in PANELS:
        points = [(label, [r["rate"] for r in results[part]], [median(results, part, key) for key, _, _ in COSTS])
                  for label, part in named if results.get(part)]
        if len(points) > 1:
            panels.append((title, points))
    if not panels:
        return
    everything = [point for _, points in panels for point in points]
    tops = nice(max(max(rates) for _, rates, _ in everything)), nice(max(sum(costs) for _, _, costs in everything))
    right = LEFT + sum(len(points) * STEP + GAP for _, points in panels) - GAP
    body = [*grid(tops[0], RATE_TOP, RATE_FOOT, right), *grid(tops[1], COST_TOP, COST_FOOT, right), *legend(),
            text(LEFT - 60, 68, "messages a second: median, least and most of the rounds", 12, "start", GREY),
            text(LEFT - 60, 308, "CPU milliseconds for 1,000 messages", 12, "start", GREY)]
    disturbed = max(r["disturbed"] for _, named in PANELS for _, part in named for r in results.get(part, []))
    if disturbed > QUIET:
        body.append(text(right, COST_FOOT + 48, f"others used up to {disturbed:.0%} of the machine", 12, "end", "#b03030"))
    x = LEFT
    for title, points in panels:
        body += panel(x, title, points, tops)
        x += len(points) * STEP + GAP
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + 20}" height="{COST_FOOT + 64}" font-family="DejaVu Sans, sans-serif">'
                f'<rect width="100%" height="100%" fill="white"/>{"".join(body)}</svg>\n')
