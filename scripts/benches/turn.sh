# The relay beside coturn. Read by scripts/bench.

# What TURN answers are small messages: each would be an interrupt of its own in this lab, though not behind a
# network card, and most of what each costs is its way through the stack. The command on record says so.
turn_defaults() {
    has_interrupts moderated
    if [[ " ${dataplane_flags[*]-} " != *" --egress"[\ =]* ]]; then
        dataplane_flags+=(--egress packet)
        SPILLWAY_BENCH_COMMAND+=" --dataplane '--egress packet'"
    fi
}

# Clients and the peer elsewhere are in `world`; coturn reaches the SFU as on a host that runs both.
bench_turn() {
    command -v turnserver >/dev/null || install coturn
    local secret line
    secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    # coturn has a socket for each allocation.
    ulimit -n "$open_files" 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    dataplane_flags+=(--turn-secret "$secret" --turn-port 3478 --turn-relay-ports 20000-40000
        --turn-peers "10.127.255.254:$peer_port")
    start_dataplane
    start_coturn
    background sfu host taskset -c 0 "$programs/spillway-bench" host --listen "$target" \
        --dataplane-pid "$dataplane_pid" --dataplane-pid "$coturn_pid"
    reachable "$target" host
    line=$(SPILLWAY_BENCH_TURN_SECRET=$secret load turn --spillway "$sfu:3478" --spillway-pid "$dataplane_pid" \
        --coturn "$sfu:3479" --coturn-pid "$coturn_pid" --coturn-is "$coturn_is" --media "$sfu:7882" \
        --control "$control" --target "$target" --peer-port "$peer_port" "$@") || exit 2
    holds "$line" "ratio_relayed_per_cpu_second >= 3" "$(figure "$line" ratio_relayed_per_cpu_second)"
    holds "$line" "ratio_allocations_per_cpu_second >= 10" "$(figure "$line" ratio_allocations_per_cpu_second)"
    holds "$line" "bytes_per_allocation <= 4096" "$(figure "$line" bytes_per_allocation)"
    holds "$line" "lost == 0" "$(figure "$line" lost)"
    holds "$line" "lost_in_call == 0" "$(figure "$line" lost_in_call)"
    conclude "$line"
}

# One relay thread on the core of the data plane's one shard; nothing that costs a packet is asked for.
start_coturn() {
    local flags=(-n --listening-ip="$sfu" --listening-port=3479 --relay-ip="$sfu" --min-port=40001 --max-port=60000
        --relay-threads=1 --realm=spillway --use-auth-secret --no-tls --no-dtls --no-tcp --no-tcp-relay
        --no-cli --no-rfc5780 --no-stun-backward-compatibility --no-software-attribute --no-dynamic-ip-list
        --no-dynamic-realms --simple-log --log-file=/dev/null --pidfile="$logs/coturn.pid" --userdb="$logs/coturn.db")
    # The empty database that its package made: while it makes one itself, it refuses everybody.
    cp /var/lib/turn/turndb "$logs/coturn.db" || die "the package of coturn left no /var/lib/turn/turndb"
    coturn_is="coturn $(turnserver --version | tail -1): ${flags[*]/"$logs"/.}"
    background sfu coturn taskset -c 0 turnserver "${flags[@]}" --static-auth-secret="$secret"
    coturn_pid=${pids[-1]}
    answers 3479 coturn
}

# Waits until a process has UDP port $1 of the data plane's host; its log is called $2.
answers() {
    local pid=${pids[-1]} port
    port=$(printf ':%04X ' "$1")
    for _ in $(seq 100); do
        scripts/lab exec sfu grep -q "$port" /proc/net/udp && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$logs/$2.log" >&2
    die "$2 does not have UDP port $1"
}
