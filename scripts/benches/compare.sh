# Two commits under one fixed load, in alternating pairs. Read by scripts/bench.
#
# Only the data plane differs: the load generator and the host agent are this checkout's for both. What disturbs a
# host only adds to a run's processor time, so each side counts by the lower quartile of its runs.

compare_pairs=9
compare_seconds=6
# A run that lost packets or whose load generator was the limit is made again, at most as often in all.
compare_repeats=18
# Of the packet rate, between any run and the first.
compare_rate_tolerance=0.01
compare_tree="" compare_directory="" compare_arguments=()

# `compare BASE NAME`: what $1 and $2 are, and whether they can be.
compare_names() {
    [ -n "${1-}" ] || die "compare lacks BASE, the commit to compare with"
    [ -n "${2-}" ] || die "compare lacks NAME, the bench whose load both get: fanout"
    [ "$2" = fanout ] || die "compare needs a fixed load, which of the benches fanout has, not '$2'"
    compare_base=$(git rev-parse --verify --quiet --end-of-options "$1^{commit}") || die "'$1' names no commit of this repository"
}

# Options of compare itself are taken out of "$@"; the rest is in compare_arguments.
compare_options() {
    compare_arguments=()
    [ -z "$link$loss$refuse" ] || die "compare is of a lab without --link, --loss and --refuse"
    while [ $# -gt 0 ]; do
        case "$1" in
        --pairs) has --pairs "${2-}" "its number" && compare_pairs=$2 && shift 2 ;;
        --seconds) has --seconds "${2-}" "its number" && compare_seconds=$2 && shift 2 ;;
        --pairs=*) compare_pairs=${1#*=} && shift ;;
        --seconds=*) compare_seconds=${1#*=} && shift ;;
        *) compare_arguments+=("$1") && shift ;;
        esac
    done
    [[ "$compare_pairs" =~ ^[1-9][0-9]{0,2}$ ]] || die "--pairs '$compare_pairs' is outside 1..=999"
    [[ "$compare_seconds" =~ ^[1-9][0-9]{0,2}$ ]] || die "--seconds '$compare_seconds' is outside 1..=999"
}

# Leaves $compare_directory/{base,today}, each with a data plane of its own and this checkout's load generator.
compare_build() {
    local root=${CARGO_TARGET_DIR:-target}/compare toolchain built side
    toolchain=$(printf '%s\n' "$(rustc -vV)" "${RUSTFLAGS-}" | cksum | cut -d' ' -f1)
    built=$root/built/$compare_base-$toolchain
    [ -x "$built/spillway-dataplane" ] || compare_build_base "$root" "$built"
    # Somebody may build while this runs.
    compare_directory=$root/programs.$LAB
    for side in base today; do
        mkdir -p "$compare_directory/$side"
        cp -f "$programs/spillway-bench" "$compare_directory/$side/" || die "cannot copy to $compare_directory"
    done
    cp -f "$built/spillway-dataplane" "$compare_directory/base/" &&
        cp -f "$programs/spillway-dataplane" "$compare_directory/today/" || die "cannot copy to $compare_directory"
}

# Builds the data plane of the base in a worktree with a target directory of its own, and keeps it as $2.
compare_build_base() {
    local root=$1 built=$2
    mkdir -p "$root" "$built" && root=$(realpath "$root") || die "cannot make $root"
    echo "bench: building the data plane of ${compare_base:0:12}" >&2
    compare_tree=$root/tree
    compare_forget_tree
    compare_tree=$root/tree
    git worktree add --quiet --force --detach "$compare_tree" "$compare_base" || die "cannot check out $compare_base"
    # Dependencies that both have are compiled already.
    if [ ! -d "$root/build" ] && [ -d "$programs/.fingerprint" ]; then
        mkdir -p "$root/build/release"
        tar --format=posix --exclude='*spillway*' -C "$programs" -cf - deps build .fingerprint |
            tar -C "$root/build/release" -xf - || rm -rf "$root/build"
    fi
    (cd "$compare_tree" && CARGO_TARGET_DIR=$root/build cargo build --release --locked -p spillway-dataplane --bins) \
        >"$logs/build-base" 2>&1 || {
        tail -30 "$logs/build-base" >&2
        die "the build of $compare_base failed"
    }
    cp "$root/build/release/spillway-dataplane" "$built/spillway-dataplane.new" &&
        mv "$built/spillway-dataplane.new" "$built/spillway-dataplane" || die "cannot keep $built"
    compare_forget_tree
}

compare_forget_tree() {
    [ -n "$compare_tree" ] || return 0
    git worktree remove --force "$compare_tree" 2>/dev/null
    rm -rf "$compare_tree"
    git worktree prune
    compare_tree=""
}

# What compare leaves outside of the lab; called at the end, however it comes.
compare_finish() {
    compare_forget_tree
    [ -z "$compare_directory" ] || rm -rf "$compare_directory"
}

bench_compare() {
    local pair side order line repeats=0 rate="" base_ns=() today_ns=() tested
    tested=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain --untracked-files=no)" ] || tested+=-modified
    # Pair 0 is a warm-up: its figures do not count.
    for pair in $(seq 0 "$compare_pairs"); do
        order=(base today)
        [ $((pair % 2)) -eq 0 ] || order=(today base)
        for side in "${order[@]}"; do
            compare_run "$pair" "$side"
            [ "$pair" -gt 0 ] || continue
            if [ "$side" = base ]; then base_ns+=("$compare_ns"); else today_ns+=("$compare_ns"); fi
        done
    done
    line=$(compare_line "$tested" "${base_ns[*]}" "${today_ns[*]}")
    holds "$line" "ratio <= 1.05" "$(figure "$line" ratio)"
    conclude "$line"
}

# One run of side $2, in pair $1: leaves its nanoseconds per delivered packet in compare_ns. Runs that say nothing are
# made again.
compare_run() {
    local pair=$1 side=$2 flaw
    while :; do
        compare_load "$side"
        flaw=$(compare_flaw "$line")
        compare_ns=$(figure "$line" cpu_ns_per_packet)
        [ -n "$flaw" ] || break
        [ "$repeats" -lt "$compare_repeats" ] || die "$side: $flaw; $repeats runs were repeated already"
        repeats=$((repeats + 1))
        echo "bench: pair $pair, $side: $flaw: the run is repeated ($repeats of at most $compare_repeats)" >&2
    done
    [ -n "$rate" ] || rate=$(figure "$line" sent_pps)
    printf 'bench: pair %d, %-5s %7.0f ns a packet\n' "$pair" "$side" "$compare_ns" >&2
}

# The load on a new data plane of side $1; its figures are in line.
compare_load() {
    programs=$compare_directory/$1
    compare_port_is_free
    start_dataplane
    start_host
    line=$(load_fanout --seconds "$compare_seconds" --ceiling-seconds 0 \
        ${compare_arguments[@]+"${compare_arguments[@]}"}) || {
        [ "$1" = today ] || git diff --quiet "$compare_base" -- wire/proto ||
            die "the base has another wire/proto than this checkout: today's load generator cannot make its sessions"
        die "the load on the data plane of $1 failed"
    }
    end_background
}

# Waits until the port of the data plane before is free: the kernel closes sockets of a ring some time after its process
# has ended.
compare_port_is_free() {
    for _ in $(seq 100); do
        [ -n "$(scripts/lab exec sfu ss -Huln 'sport = :7882')" ] || return 0
        sleep 0.1
    done
    die "udp port 7882 is still in use 10 s after the data plane before has ended"
}

# Why a run says nothing of what a packet costs at this load; empty if it does.
compare_flaw() {
    local lost sent
    lost=$(figure "$1" lost_packets) sent=$(figure "$1" sent_pps)
    if [ "$lost" != 0 ]; then
        echo "$lost packets were lost"
    elif [[ "$1" != *'"lost_sessions":[]'* ]]; then
        echo "sessions were lost"
    elif [ "$(figure "$1" damaged_packets)" != 0 ]; then
        echo "packets were damaged"
    elif [[ "$1" != *'"load_generator_limited":false'* ]]; then
        echo "the load generator was the limit: $(sed -n 's/.*"load_generator_limits":\(\[[^]]*\]\).*/\1/p' <<<"$1")"
    elif [ -z "$(figure "$1" cpu_ns_per_packet)" ]; then
        echo "its processor time is not known"
    elif [ -n "$rate" ] && awk -v a="$sent" -v b="$rate" -v t="$compare_rate_tolerance" 'BEGIN { exit !(a > b * (1 + t) || a < b * (1 - t)) }'; then
        echo "$sent packets a second were sent, $rate in the first run"
    fi
}

# The result as JSON: commit $1, nanoseconds per packet of the base, $2, and of today's, $3, pair by pair.
compare_line() {
    COMMAND=$(json_text "$SPILLWAY_BENCH_COMMAND") awk -v base="$2" -v today="$3" -v base_commit="$compare_base" -v tested="$1" -v seconds="$compare_seconds" \
        -v rate="$rate" -v repeats="$repeats" '
        function sort(list, n,   i, j, held) {
            for (i = 2; i <= n; i++) {
                held = list[i]
                for (j = i - 1; j > 0 && list[j] > held; j--) list[j + 1] = list[j]
                list[j + 1] = held
            }
        }
        # The value below which a part q of the sorted list lies, between neighbours in proportion.
        function quantile(list, n, q,   at, low) {
            at = 1 + (n - 1) * q
            low = int(at)
            return low >= n ? list[n] : list[low] + (at - low) * (list[low + 1] - list[low])
        }
        function spread(list, n) {
            return sprintf("{\"min\":%.4f,\"p25\":%.4f,\"p50\":%.4f,\"p75\":%.4f,\"max\":%.4f}", list[1],
                quantile(list, n, 0.25), quantile(list, n, 0.5), quantile(list, n, 0.75), list[n])
        }
        function joined(text) { gsub(/ /, ",", text); return text }
        BEGIN {
            n = split(base, b, " ")
            split(today, t, " ")
            for (i = 1; i <= n; i++) { b[i] += 0; t[i] += 0; r[i] = t[i] / b[i] }
            sort(b, n); sort(t, n); sort(r, n)
            low_b = quantile(b, n, 0.25); low_t = quantile(t, n, 0.25)
            printf "{\"bench\":\"compare\",\"of\":\"fanout\",\"base\":\"%s\",\"today\":\"%s\",", base_commit, tested
            printf "\"pairs\":%d,\"seconds\":%d,\"repeated_runs\":%d,\"packets_per_second\":%s,", n, seconds, repeats, rate
            printf "\"ratio\":%.4f,\"ratio_of_pairs\":%s,", low_t / low_b, spread(r, n)
            printf "\"base_ns_per_packet\":%.1f,\"today_ns_per_packet\":%.1f,", low_b, low_t
            printf "\"base_spread\":%.4f,", quantile(b, n, 0.75) / low_b - 1
            printf "\"today_spread\":%.4f,", quantile(t, n, 0.75) / low_t - 1
            printf "\"base_runs_ns\":[%s],\"today_runs_ns\":[%s],\"command\":%s}\n", joined(base), joined(today), ENVIRON["COMMAND"]
        }'
}

# $1, which has no control characters, as a JSON string.
json_text() { printf '"%s"' "$(sed 's/[\\"]/\\&/g' <<<"$1")"; }
