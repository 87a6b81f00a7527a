# Signaling, on loopback. Read by scripts/bench.

# On loopback: no other host is reached, and only processes are measured.
bench_signal() {
    [[ "$servers" =~ ^[1-9]$ ]] || die "--servers '$servers' is outside 1..=9"
    [[ "$store" == redis || "$store" == memory ]] || die "--store '$store' is neither redis nor memory"
    [ -z "$idle" ] || [[ "$idle" =~ ^[1-9][0-9]*$ ]] || die "--idle '$idle' is no number above 0"
    [ -z "$idle" ] || [ "$servers-$store" = 1-memory ] || die "--idle is of one server with its rooms in memory"
    [ "$servers" -eq 1 ] || [ "$store" = redis ] || die "servers share a store only with --store redis"
    [ -z "$room" ] || [[ "$room" =~ ^[1-9][0-9]*$ ]] || die "--room '$room' is no number above 0"
    [ -z "$room" ] || [ -z "$idle" ] || die "--room and --idle are of two measurements"
    # The servers inherit it.
    ulimit -n "$open_files" 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    local key=bench secret load_flags=() server_flags=() url=memory port
    secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    if [ "$store" = redis ]; then
        command -v redis-server >/dev/null || install redis-server
        port=$(free_port)
        locally redis "$port" redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no --dir "$logs"
        url=redis://127.0.0.1:$port
        load_flags+=(--redis "127.0.0.1:$port")
    fi
    local control
    [ -z "$idle" ] || bench_idle "$@"
    start_media
    for _ in $(seq "$servers"); do
        start_server
        load_flags+=("${server_flags[@]}")
    done
    [ -z "$room" ] || bench_room "$@"
    local line
    line=$($first "$programs/spillway-bench" signal --api-key "$key" --api-secret "$secret" "${load_flags[@]}" "$@" \
        9>&- 2> >(tee "$logs/load.log" >&2 9>&-)) || exit 2
    [ "$store" != redis ] || holds "$line" "ratio_to_redis_ceiling >= 0.5" "$(figure "$line" ratio_to_redis_ceiling)"
    holds "$line" "lost == 0" "$(figure "$line" lost)"
    conclude "$line"
}

# One large room beside those of the usual size.
bench_room() {
    local line
    line=$($first "$programs/spillway-bench" signal --api-key "$key" --api-secret "$secret" "${load_flags[@]}" \
        --room "$room" --seconds 20 "$@" 9>&- 2> >(tee "$logs/load.log" >&2 9>&-)) || exit 2
    holds "$line" "join_to_notified_p99_ratio <= 2" "$(figure "$line" join_to_notified_p99_ratio)"
    holds "$line" "rss_bytes_per_participant <= 16384" "$(figure "$line" rss_bytes_per_participant)"
    holds "$line" "broken_sockets == 0" "$(figure "$line" broken_sockets)"
    holds "$line" "lost == 0" "$(figure "$line" lost)"
    conclude "$line"
}

# One server, or as many as the limit of open files makes of it, each with a load of its own.
bench_idle() {
    local parts share part loads=() lines=() rss=0 lost=0
    parts=$(((idle + 256) / ($(ulimit -n) - 256) + 1))
    share=$(((idle + parts - 1) / parts))
    for part in $(seq "$parts"); do
        start_media
        start_server
        $first "$programs/spillway-bench" signal --api-key "$key" --api-secret "$secret" "${server_flags[@]}" \
            --idle --connections "$share" --joins-per-second $((500 / parts)) --room-size 10 "$@" \
            >"$logs/load-$part.json" 9>&- 2> >(tee "$logs/load-$part.log" >&2 9>&-) &
        loads+=($!)
    done
    for part in $(seq "$parts"); do
        wait "${loads[part - 1]}" || exit 2
        lines+=("$(cat "$logs/load-$part.json")")
        rss=$((rss + $(figure "${lines[-1]}" rss_bytes_per_connection)))
        lost=$((lost + $(figure "${lines[-1]}" lost)))
    done
    local line all
    line=$(printf '{"bench":"signal","connections":%d,"servers":%d,"rss_bytes_per_connection":%d,"lost":%d' \
        $((share * parts)) "$parts" $((rss / parts)) "$lost")
    all=$(IFS=,; echo "${lines[*]}")
    holds "$line" "rss_bytes_per_connection <= 12288" $((rss / parts))
    holds "$line" "lost == 0" "$lost"
    conclude "$line,\"parts\":[$all]}"
}

# A data plane on loopback, for the servers that are started next.
start_media() {
    local port
    port=$(free_port)
    control=127.0.0.1:$port
    locally "dataplane-$port" "$port" "$programs/spillway-dataplane" --control "$control" \
        --metrics "127.0.0.1:$(free_port)" --udp-port "$(free_port)" --shards 1 --advertise 127.0.0.1 --log warn
}

start_server() {
    local port
    port=$(free_port)
    SPILLWAY_KEYS="$key:$secret" locally "server-$port" "$port" "$programs/spillway" serve --store "$url" \
        --dataplane-control "http://$control" --listen "127.0.0.1:$port" ${room:+--max-participants-per-room "$room"} --log warn
    server_flags=(--server "127.0.0.1:$port" --pid "${pids[-1]}")
}
