"""Sizes that keep the code readable: length, nesting and parameters of functions, length of files. `sizes.py --all` lists every
function."""
import math
import re
import sys

import csource

MAX_LINES, MAX_NESTING, MAX_PARAMETERS, USUAL_PARAMETERS = 70, 3, 6, 5
MAX_FILE_LINES, MAX_TEST_FILE_LINES = 600, 900

# Functions that may take more than MAX_PARAMETERS, and why.
MANY_PARAMETERS = {
    ("common/io/status_server.c", "on_request"): "libmicrohttpd's callback",
    ("tests/provider/server.c", "on_access"): "libmicrohttpd's callback",
    ("tests/fuzz/alloc_fail.c", "__libc_start_main"): "the C library's",
}

TOKEN = re.compile(r"\n|\w+|\.\.\.|[^\s\w]")
CLOSING = {"(": ")", "[": "]", "{": "}"}
NESTING = {"if", "for", "while", "switch"}


class Function:
    def __init__(self, path, name, line, lines, parameters):
        self.path, self.name, self.line, self.lines, self.parameters = path, name, line, lines, parameters
        self.table_lines = self.nesting = 0


class Source:
    """The tokens of one file, and the functions defined there."""

    def __init__(self, path):
        self.path, self.tokens, self.lines = path, [], []
        line = 1
        for token in TOKEN.findall(csource.without_directives(csource.code(csource.read(path)))):
            if token == "\n":
                line += 1
            else:
                self.tokens.append(token)
                self.lines.append(line)
        self.pair = self.match_brackets()

    def match_brackets(self):
        pair, open_at = {}, []
        for at, token in enumerate(self.tokens):
            if token in CLOSING:
                open_at.append(at)
            elif token in CLOSING.values():
                if not open_at or CLOSING[self.tokens[open_at[-1]]] != token:
                    sys.exit(f"{self.path}:{self.lines[at]}: '{token}' closes nothing that sizes.py can see")
                pair[at] = open_at.pop()
                pair[pair[at]] = at
        return pair

    def functions(self):
        at = begin = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token == ";":
                begin = at + 1
            elif token == "{":
                if self.tokens[at - 1] == ")" and "=" not in self.tokens[begin:at]:
                    yield self.function(at)
                    begin = self.pair[at] + 1
                at = self.pair[at]
            at += 1

    def function(self, body):
        opening = self.pair[body - 1]
        f = Function(self.path, self.tokens[opening - 1], self.lines[opening - 1],
                     self.lines[self.pair[body]] - self.lines[opening - 1] + 1, self.count_parameters(opening))
        _, f.nesting, f.table_lines = self.block(body)
        return f

    def count_parameters(self, opening):
        inside, at = 0, opening + 1
        if self.tokens[at:self.pair[opening]] in ([], ["void"]):
            return 0
        while at < self.pair[opening]:
            inside += self.tokens[at] == "," and self.tokens[at + 1] != "..."
            at = self.pair[at] + 1 if self.tokens[at] in CLOSING else at + 1
        return inside + 1

    # Each of these reads what begins at a token and returns where it ends (the token after), the depth of the control
    # structures within and the lines of its tables but their first.

    def block(self, at):
        end, depth, tables = self.pair[at], 0, 0
        at += 1
        while at < end:
            at, inner, more = self.statement(at)
            depth, tables = max(depth, inner), tables + more
        return end + 1, depth, tables

    def statement(self, at):
        token, following = self.tokens[at], self.tokens[at + 1]
        if token == "{":
            return self.block(at)
        if token in NESTING:
            return self.control(at)
        if token == "do":
            after, depth, tables = self.statement(at + 1)
            return self.pair[after + 1] + 2, depth + 1, tables
        if token in ("case", "default") or following == ":" and re.match(r"\w", token):
            return self.tokens.index(":", at) + 1, 0, 0
        if following == "(" and self.tokens[self.pair[at + 1] + 1] == "{":  # a macro that is a loop
            after, depth, tables = self.block(self.pair[at + 1] + 1)
            return after, depth + 1, tables
        return self.simple(at)

    def control(self, at):
        after, depth, tables = self.statement(self.pair[at + 1] + 1)
        depth += 1
        if self.tokens[at] == "if" and self.tokens[after] == "else":
            chained = self.tokens[after + 1] == "if"
            after, inner, more = self.statement(after + 1)
            depth, tables = max(depth, inner if chained else inner + 1), tables + more
        return after, depth, tables

    def simple(self, at):
        tables = 0
        while self.tokens[at] != ";":
            if self.tokens[at] in CLOSING:
                if self.tokens[at] == "{" and self.tokens[at - 1] == "=":
                    tables += self.lines[self.pair[at]] - self.lines[at]
                at = self.pair[at]
            at += 1
        return at + 1, 0, tables


def is_test(path):
    return path.startswith("tests/")


def check_function(f):
    place = f"{f.path}:{f.line}: {f.name}"
    if f.lines - f.table_lines > MAX_LINES:
        yield f"{place} has {f.lines} lines (at most {MAX_LINES}, tables apart)"
    if f.nesting > MAX_NESTING:
        yield f"{place} nests {f.nesting} deep (at most {MAX_NESTING})"
    if f.parameters > MAX_PARAMETERS and (f.path, f.name) not in MANY_PARAMETERS:
        yield f"{place} takes {f.parameters} parameters (at most {MAX_PARAMETERS})"


def check_file(path):
    length, most = csource.read(path).count("\n"), MAX_TEST_FILE_LINES if is_test(path) else MAX_FILE_LINES
    if length > most:
        yield f"{path} has {length} lines (at most {most})"


def summary(title, functions):
    if not functions:
        return f"note: {title}: no functions"
    lines = sorted(f.lines for f in functions)
    p95, median = lines[math.ceil(len(lines) * 0.95) - 1], lines[(len(lines) - 1) // 2]
    many = sum(f.parameters > USUAL_PARAMETERS for f in functions)
    return (f"note: {title}: {len(lines)} functions, median {median} lines, 95th percentile {p95}, longest {lines[-1]}; "
            f"{many} with more than {USUAL_PARAMETERS} parameters")


def main():
    paths = csource.files(".c", ".h")
    functions = [f for path in paths for f in Source(path).functions()]
    if "--all" in sys.argv:
        for f in functions:
            print(f"{f.path}:{f.line}: {f.name}: {f.lines} lines ({f.table_lines} of tables), nesting {f.nesting}, "
                  f"{f.parameters} parameters")
        return
    print(summary("product", [f for f in functions if not is_test(f.path)]))
    print(summary("tests", [f for f in functions if is_test(f.path)]))
    findings = [finding for path in paths for finding in check_file(path)]
    csource.finish(findings + [finding for f in functions for finding in check_function(f)])


main()
