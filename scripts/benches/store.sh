# The store alone, on loopback. Read by scripts/bench.

bench_store() {
    local port line
    command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || install redis-server redis-tools
    port=$(free_port)
    locally redis "$port" redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no --dir "$logs"
    line=$($first cargo bench --locked -q -p spillway-controlplane --bench store -- --port "$port" --pid "${pids[-1]}" "$@" \
        9>&- 2> >(tee "$logs/load.log" >&2 9>&-)) || exit 2
    line=$(tail -1 <<<"$line")
    holds "$line" "ratio_to_append >= 0.4" "$(figure "$line" ratio_to_append)"
    holds "$line" "least_events_per_redis_cpu_second >= 50000" "$(figure "$line" least_events_per_redis_cpu_second)"
    holds "$line" "lost == 0" "$(figure "$line" lost)"
    conclude "$line"
}
