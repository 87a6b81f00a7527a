# The same load on Spillway and on Janus. Read by scripts/bench.

bench_peers() {
    command -v janus >/dev/null || install janus
    start_dataplane
    start_janus
    start_host
    start_host "$janus_pid" "${target%:*}:7901"
    local line
    line=$(load peers --control "$control" --metrics "$metrics" --target "$target" \
        --janus "$janus" --janus-target "${target%:*}:7901" "$@") || exit 2
    holds "$line" "ratio_delivered_per_cpu_second >= 4" "$(figure "$line" ratio_delivered_per_cpu_second)"
    conclude "$line"
}

start_janus() {
    mkdir -p "$logs/janus"
    janus_config
    background sfu janus taskset -c 0 janus --configs-folder "$logs/janus" --log-stdout --disable-colors
    janus_pid=${pids[-1]}
    reachable "$janus" janus
}

janus_config() {
    local lib
    lib=$(dirname "$(dpkg -L janus | grep '/plugins/libjanus_videoroom\.so$')")
    cat >"$logs/janus/janus.jcfg" <<CONFIG
general: {
    configs_folder = "$logs/janus"
    plugins_folder = "$lib"
    transports_folder = "${lib%/plugins}/transports"
    events_folder = "$logs/janus/none"
    loggers_folder = "$logs/janus/none"
    debug_level = 3
    session_timeout = 0
    server_name = "peer"
}
media: { ipv6 = false, dtls_mtu = 1200, rtp_port_range = "20000-60000" }
nat: { ice_lite = true, ice_enforce_list = "$sfu", full_trickle = false }
plugins: { disable = "$(cd "$lib" && echo libjanus_*.so | tr ' ' '\n' | grep -v videoroom | paste -sd,)" }
transports: { disable = "$(cd "${lib%/plugins}/transports" && echo libjanus_*.so | tr ' ' '\n' | grep -v websockets | paste -sd,)" }
CONFIG
    printf 'general: { }\n' >"$logs/janus/janus.plugin.videoroom.jcfg"
    printf 'general: { json = "compact", ws = true, ws_ip = "%s", ws_port = %s, wss = false }\nadmin: { admin_ws = false }\n' \
        "${janus%:*}" "${janus#*:}" >"$logs/janus/janus.transport.websockets.jcfg"
}
