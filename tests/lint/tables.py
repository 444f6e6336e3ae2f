"""What is written down twice says the same: options (table, sample, README), durable words (C, SQL), the schema's version,
metrics (C, README), paths that the README names. Usage: tables.py options|words|metrics|paths TABLES, where TABLES is tables.c
as a program."""
import os
import re
import subprocess
import sys

import csource

SAMPLE, README, MIGRATIONS = "etc/agwb.cfg", "README.md", "schemas/sql/"


def rows(kind):
    printed = subprocess.run([sys.argv[2]], check=True, stdout=subprocess.PIPE, text=True, cwd=csource.TOP).stdout
    return [line.split("\t")[1:] for line in printed.splitlines() if line.split("\t")[0] == kind]


# --- options -----------------------------------------------------------------------------------------------------------------

def sample_options():
    """Full names with their lines: settings outside lists, also those that are commented out for want of a useful default."""
    groups = []
    for number, line in enumerate(csource.read(SAMPLE).splitlines(), 1):
        group = re.match(r"\s*(\w+)\s*:\s*$", line)
        setting = re.match(r"\s*(?:#\s)?(\w+)\s*=\s*\S.*;", line) or re.match(r"\s*(\w+)\s*=", line)
        if group:
            groups.append(group.group(1))
        elif re.match(r"\s*}\s*;", line):
            groups.pop()
        elif setting and groups and groups != ["channels"]:  # an account's members are not options: each has its own
            yield ".".join(groups + [setting.group(1)]), number


def readme_options(groups):
    """Name, line, and the default where it stands in a row of a table."""
    for number, line in enumerate(csource.read(README).splitlines(), 1):
        for match in re.finditer(r"`((?:%s)\.[a-z_.]+)`(?: \| (?:`(.*?)`|\(empty\)) \|)?" % "|".join(groups), line):
            in_table = " | " in match.group()
            yield match.group(1), number, (match.group(2) or "") if in_table else None


def options():
    table = dict(rows("option"))
    in_sample = dict(sample_options())
    in_readme = list(readme_options({name.split(".")[0] for name in table}))
    described = {name for name, _, default in in_readme if default is not None}
    for name, default in table.items():
        if name not in in_sample and not name.startswith("channels."):
            yield f"{SAMPLE}: {name} is missing"
        if name not in described:
            yield f"{README}: {name} is missing from the table of options"
    for name, number in in_sample.items():
        if name not in table:
            yield f"{SAMPLE}:{number}: there is no option {name}"
    for name, number, default in in_readme:
        if name not in table and not any(known.startswith(name + ".") for known in table):
            yield f"{README}:{number}: there is no option {name}"
        elif default is not None and default != table.get(name, default):
            yield f"{README}:{number}: the default of {name} is '{table[name]}', not '{default}'"


# --- words -------------------------------------------------------------------------------------------------------------------

def migrations():
    return [path for path in csource.files(".sql") if path.startswith(MIGRATIONS)]


def checked_words(column):
    """The words of the newest CHECK on a column of the ledger."""
    found = None
    for path in migrations():
        sql = re.sub(r"--[^\n]*", "", csource.read(path))
        for match in re.finditer(r"\bcheck\s*\(\s*%s\s+in\s*\(([^)]*)\)" % column, sql, re.I):
            found = re.findall(r"'([^']*)'", match.group(1))
    return found


def words():
    for column in ("state", "outcome", "disposition"):
        in_c, in_sql = [row[0] for row in rows(column)], checked_words(column)
        if in_sql is None:
            yield f"{MIGRATIONS}: no CHECK on {column}"
        elif set(in_c) != set(in_sql):
            yield f"{column}: C says {', '.join(in_c)}; SQL says {', '.join(in_sql)}"
    version = int(rows("schema")[0][0])
    newest = max(int(os.path.basename(path).split("_")[0]) for path in migrations())
    if version != newest:
        yield f"common/domain/schema.h: SCHEMA_VERSION is {version}, the newest migration is {newest}"


# --- metrics -----------------------------------------------------------------------------------------------------------------

def metrics():
    family = re.compile(r"\bstruct metric_family\s+\w+\s*=[^;]*?\.name\s*=\s*\"([^\"]*)\"")
    sources = [path for path in csource.files(".c") if not path.startswith("tests/")]
    in_c = {name: path for path in sources for name in family.findall(csource.read(path))}
    table = re.search(r"^\| metric \|.*\n(?:\|.*\n)+", csource.read(README), re.M).group()  # roles are agwb_ too
    in_readme = {name for line in table.splitlines() for name in re.findall(r"`(agwb_\w+)`", line.split("|")[1])}
    for name, path in in_c.items():
        if not name.startswith("agwb_"):
            yield f"{path}: metric {name} lacks the prefix agwb_"
        elif name not in in_readme:
            yield f"{README}: {name} is missing from the table of metrics"
    for name in sorted(in_readme - in_c.keys()):
        yield f"{README}: there is no metric {name}"
    if not in_c:
        yield "no metric found in the sources"


# --- paths -------------------------------------------------------------------------------------------------------------------

def paths():
    top = {path.split("/")[0] for path in csource.files() if "/" in path}
    for number, line in enumerate(csource.read(README).splitlines(), 1):
        for path in re.findall(r"(?<![\w./-])((?:%s)/[\w./-]*\w)" % "|".join(map(re.escape, sorted(top))), line):
            if not os.path.exists(os.path.join(csource.TOP, path)):
                yield f"{README}:{number}: there is no {path}"


csource.finish(list({"options": options, "words": words, "metrics": metrics, "paths": paths}[sys.argv[1]]()))
