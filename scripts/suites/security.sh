# Attacks, each beside a control. Read by scripts/test.
#
# The tests of each item are named in security.items. A row for each item, then one JSON line with the figures.

security() {
    local items=scripts/suites/security.items log=$logs/security-tests.log names
    : >"$log"
    # The same packages as in `unit`: otherwise cargo features differ, and everything is built
    # again.
    mapfile -t names < <(sed 's/#.*//' "$items" | awk '$2 != "tests" { print $3 }' | sort -u)
    cargo test --release --locked --no-fail-fast --workspace --exclude spillway-tests --tests -- --show-output \
        "${names[@]}" >>"$log" 2>&1
    mapfile -t names < <(sed 's/#.*//' "$items" | awk '$2 == "tests" { print $3 }' | sort -u)
    # These tests measure CPU time, so they run one after the other.
    cargo test --release --locked --no-fail-fast -p spillway-tests --test suites -- --test-threads=1 --show-output \
        "${names[@]}" >>"$log" 2>&1
    local item name missing ok=0 failed=0 statuses=() figures
    while read -r item; do
        missing=""
        while read -r name; do
            security_passed "$log" "$name" || missing=$name
        done < <(sed 's/#.*//' "$items" | awk -v i="$item" '$1 == i { print $3 }')
        if [ -z "$missing" ]; then
            printf '%-20s ok\n' "$item"
            ok=$((ok + 1)) statuses+=("\"$item\":\"ok\"")
        else
            printf '%-20s FAILED: %s\n' "$item" "$missing"
            grep -A12 -- "---- .*$missing.* stdout ----" "$log" | tail -12
            failed=$((failed + 1)) statuses+=("\"$item\":\"failed\"")
        fi
    done < <(sed 's/#.*//' "$items" | awk 'NF && !seen[$1]++ { print $1 }')
    echo "$ok checks passed"
    [ "$failed" -eq 0 ] || echo "test result: FAILED. 0 passed; $failed failed; see $log"
    figures=$(sed -n 's/^security-row \([a-z_]*\) \(.*\)$/"\1":\2/p' "$log" | paste -sd,)
    echo "{\"suite\":\"security\",\"items\":{$(
        IFS=,
        echo "${statuses[*]}"
    )},\"figures\":{$figures}}"
    [ "$failed" -eq 0 ]
}

# True if the log shows that test $2, or every test whose name contains it (at least one), passed.
security_passed() {
    local results
    results=$(grep -F -- "$2" "$1" | grep -E '^test .* \.\.\. ')
    [ -n "$results" ] && ! grep -qv ' \.\.\. ok$' <<<"$results"
}
