# Checks for cargo and its version before a build. Read by scripts/up, scripts/test and scripts/bench.

# Uses cargo of rustup's default directory when a shell was not started anew since Rust was installed.
require_cargo() {
    command -v cargo >/dev/null || [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] ||
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null; then
        echo "cargo is not installed; the build needs Rust $needed or newer." >&2
        install_hint "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        return 1
    fi
    # Without a toolchain, rustup's cargo explains what to do.
    found=$(cargo --version) || return 1
    found=$(sed -n 's/^cargo \([0-9.]*\).*/\1/p' <<<"$found")
    if [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -1)" != "$needed" ]; then
        echo "cargo $found ($(command -v cargo)) is too old; the build needs Rust $needed or newer." >&2
        if command -v rustup >/dev/null; then
            install_hint "rustup update stable && rustup default stable"
        else
            install_hint "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        fi
        return 1
    fi
}

install_hint() { printf 'Install it with:\n  %s\nThen run this script again.\n' "$1" >&2; }
