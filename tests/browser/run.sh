#!/bin/sh
# Runs the browser tests: all suites, or the named ones: tests/browser/run.sh call firefox
# Time limit of the whole run: SPILLWAY_TEST_SECONDS. Needs target/release/spillway and
# target/release/spillway-dataplane (or SPILLWAY_BIN_DIR), chromium, and firefox-esr.
set -eu
cd "$(dirname "$0")"

[ -f node_modules/.package-lock.json ] && [ node_modules/.package-lock.json -nt package-lock.json ] ||
    npm ci --no-audit --no-fund --loglevel=error

[ $# -gt 0 ] || set -- client call firefox simulcast codecs shards turn control-restart media-restart page
for suite in "$@"; do
    [ -f "$suite.test.js" ] || { echo "no suite $suite; there are: $(ls ./*.test.js | sed 's|^\./||; s|\.test\.js$||' | tr '\n' ' ')" >&2; exit 2; }
    shift
    set -- "$@" "$suite.test.js"
done
exec timeout "${SPILLWAY_TEST_SECONDS:-900}" node --test --test-concurrency=1 --test-reporter=spec "$@"
