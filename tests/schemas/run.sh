#!/bin/sh
# Holds the JSON Schemas and the AsyncAPI document to the corpus. The validators come from npm, once, into the build folder.
# The last line is "N passed, N failed"; exits 1 when something failed, 75 when the validators could not be installed.
set -eu
cd "$(dirname "$0")/../.."
dir=${BUILD:-build}/tests/schemas
mkdir -p "$dir"

if ! cmp -s tests/schemas/package-lock.json "$dir/installed.json"; then
    cp tests/schemas/package.json tests/schemas/package-lock.json "$dir/"
    if ! (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
        echo "schemas: npm could not install the validators" >&2
        exit 75
    fi
    cp tests/schemas/package-lock.json "$dir/installed.json"
fi
cp tests/schemas/validate.mjs "$dir/"
exec node "$dir/validate.mjs" .
