"""Asks a running Prometheus about what is shipped.

prometheus.py URL query EXPR          the first value of an expression; fails when there is none
prometheus.py URL rules               fails unless every rule was evaluated without an error
prometheus.py URL names FILE|rules    fails unless every metric that a dashboard or the loaded rules name exists
prometheus.py URL dashboard FILE      fails unless every query of the dashboard returns data, and numbers
"""
import json
import re
import sys
import urllib.parse
import urllib.request

URL = sys.argv[1]


def ask(path, **parameters):
    with urllib.request.urlopen(f"{URL}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]


def values(expression):
    return [float(sample["value"][1]) for sample in ask("query", query=expression)["result"]]


def query(expression):
    found = values(expression)
    if not found:
        yield f"no data: {expression}"
    else:
        print(found[0])


def rules():
    found = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    if not found:
        yield "no rule was loaded"
    for rule in found:
        if rule["health"] != "ok":
            yield f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"


def expressions(source):
    """The exprs of a dashboard (a file), or those of the rules that are loaded."""
    if source == "rules":
        return [rule["query"] for group in ask("rules")["groups"] for rule in group["rules"]]
    with open(source, encoding="utf-8") as file:
        board = json.load(file)
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return found + [note["expr"] for note in board["annotations"]["list"]]


def names(source):
    known = set(ask("label/__name__/values"))
    used = {name for expression in expressions(source) for name in re.findall(r"\bagwb[:_][a-z0-9_:]*[a-z0-9]\b", expression)}
    if not used:
        yield f"{source} names no metric"
    for name in sorted(used - known):
        yield f"{source}: there is no metric {name}"


def dashboard(path):
    for expression in expressions(path):
        asked = values(expression.replace("$__rate_interval", "5m").replace(" > 0", ""))
        if not asked:
            yield f"no data: {expression}"
        elif all(value != value for value in asked):
            yield f"only NaN: {expression}"


problems = list({"query": query, "rules": rules, "names": names, "dashboard": dashboard}[sys.argv[2]](*sys.argv[3:]))
print("\n".join(problems), end="\n" if problems else "")
sys.exit(1 if problems else 0)
