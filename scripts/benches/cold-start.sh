# The first `scripts/up --detach` of a checkout, at two commits. Read by scripts/bench.
#
# Crates are downloaded before; each side is a checkout of its own, without a target directory. The sides run one after
# the other on the whole host, so nothing else should run on it.

# The last commit before the build had a budget.
cold_start_base=5414934
cold_start_limit=0.6

bench_cold_start() {
    local base=$cold_start_base base_commit after
    while [ $# -gt 0 ]; do
        case "$1" in
        --base) has --base "${2-}" "its commit" && base=$2 && shift 2 ;;
        --base=*) base=${1#*=} && shift ;;
        *) die "cold-start has no option '$1'; it has --base COMMIT" ;;
        esac
    done
    base_commit=$(git rev-parse --verify --quiet --end-of-options "$base^{commit}") ||
        die "this repository has no commit '$base' (a shallow clone lacks it); choose another with --base COMMIT"
    base=$base_commit
    # This checkout with its changes of tracked files, committed or not.
    after=$(git stash create) && after=${after:-$(git rev-parse HEAD)}
    cold_start_root=$(realpath "${CARGO_TARGET_DIR:-target}")/cold-start
    cold_start_finish
    mkdir -p "$cold_start_root"
    cold_start_of before "$base"
    local before=$cold_start_seconds crates_before=$cold_start_crates
    cold_start_of after "$after"
    local ratio
    ratio=$(awk -v a="$cold_start_seconds" -v b="$before" 'BEGIN { printf "%.3f", a / b }')
    holds "" "ratio <= $cold_start_limit" "$ratio"
    conclude "{\"bench\":\"cold-start\",\"base\":\"${base:0:12}\",\"before_seconds\":$before,\"after_seconds\":$cold_start_seconds,\
\"ratio\":$ratio,\"limit\":$cold_start_limit,\"crates_before\":$crates_before,\"crates_after\":$cold_start_crates,\
\"cores\":$(nproc),\"rustc\":\"$(rustc --version)\"}"
}

# Times `scripts/up --detach` of commit $2 in the checkout $1; leaves $cold_start_seconds and $cold_start_crates.
cold_start_of() {
    local tree=$cold_start_root/$1 log=$logs/$1.log from to
    git worktree add --quiet --force --detach "$tree" "$2" || die "cannot check out $2"
    (cd "$tree" && cargo fetch --locked --quiet) || die "cannot download the crates of $2"
    sync # the writes of the checkout are not part of the measured time
    echo "bench: cold start of ${2:0:12} ($1)" >&2
    from=$(date +%s.%N)
    (
        cd "$tree" && unset CARGO_TARGET_DIR
        exec scripts/up --detach --listen 127.0.0.1:0 --udp-port 0
    ) >"$log" 2>&1 9>&- || {
        tail -30 "$log" >&2
        die "scripts/up of ${2:0:12} failed"
    }
    to=$(date +%s.%N)
    grep -q "Spillway is up" "$log" || die "scripts/up of ${2:0:12} does not say that it is up"
    cold_start_seconds=$(awk -v a="$from" -v b="$to" 'BEGIN { printf "%.1f", b - a }')
    cold_start_crates=$(grep -c '^ *Compiling ' "$log")
    (cd "$tree" && scripts/up --stop >&2) || die "scripts/up --stop of ${2:0:12} failed"
    rm -rf "$tree/target"
}

cold_start_finish() {
    local tree
    for tree in "$cold_start_root"/{before,after}; do
        [ ! -d "$tree" ] || {
            (cd "$tree" && scripts/up --stop >/dev/null 2>&1)
            git worktree remove --force "$tree"
        }
    done
    rm -rf "$cold_start_root"
    git worktree prune
}
