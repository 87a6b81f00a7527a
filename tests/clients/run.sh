#!/usr/bin/env bash
# Other WebRTC stacks against one Spillway: aiortc, GStreamer's webrtcbin (with its own RSA certificate, and with an EC
# certificate), pion, Chromium and Firefox, in two network namespaces.
#
#   scripts/test clients                              everything
#   scripts/test clients --only gstreamer-rsa         all pairs with one client
#   scripts/test clients --only 'pion>firefox'        one pair: publisher>viewer; several with commas
#   scripts/test clients --part pairs                 one part: pairs, h264, stay, loss, late, handshake
#                                                     or udp; several with commas
#   scripts/test lipsync                              audio and video of one participant in sync, in Chromium
#   scripts/test h264                                 profiles of H.264: publishers that offer one, viewers that take one
#   SPILLWAY_TEST_LOG=1 scripts/test ...              with the output of the clients
#
# tests/clients/run.sh SUITE does the same without installing system packages and building Spillway; CLIENTS_ONLY and
# CLIENTS_PARTS are the options. Needs root for the namespaces.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
made=${CLIENTS_DIR:-$root/target/clients}
export PYTHONDONTWRITEBYTECODE=1

[ "$(id -u)" -eq 0 ] || {
    echo "clients need root for their network namespaces: skipped"
    exit 0
}
mkdir -p "$made"
(cd ../browser && { [ -f node_modules/.package-lock.json ] && [ node_modules/.package-lock.json -nt package-lock.json ] ||
    npm ci --no-audit --no-fund --loglevel=error; })
# GStreamer's bindings are installed for the system's Python, so the virtual environment uses that Python.
[ -f "$made/venv/made" ] && [ "$made/venv/made" -nt python/requirements.txt ] || {
    /usr/bin/python3 -m venv --clear --system-site-packages "$made/venv"
    "$made/venv/bin/pip" install --quiet --disable-pip-version-check --requirement python/requirements.txt
    touch "$made/venv/made"
}
if [ "$1" = h264 ]; then
    : # aiortc alone
elif command -v go >/dev/null; then
    (cd pion && go build -o "$made/pion" .)
    [ "$made/media/opus.frames" -nt python/make_media.py ] || "$made/venv/bin/python" python/make_media.py "$made/media"
else
    rm -f "$made/pion"
    echo "there is no Go here: pion is skipped"
fi
exec timeout --kill-after=60 "${SPILLWAY_TEST_SECONDS:-1800}" node "$1.js"
