//! `spillway up`: signaling and a data plane together. Keys survive restarts. The data plane is a
//! child process that is restarted when it ends, and taken over if an earlier `up` left it running.

mod child; // the data plane's process
mod state_dir; // credentials and sockets that survive a restart

use anyhow::Context as _;

pub use state_dir::{Credentials, StateDir, UpFile};

use crate::config::{Config, ControlAddress};
use crate::serve;
use crate::terminal::print_line;
use child::Supervisor;

/// Runs until SIGINT or SIGTERM, then stops the data plane. If this process is killed, the data
/// plane keeps forwarding, and the next `up` takes it over.
pub async fn run(mut config: Config) -> anyhow::Result<()> {
    let mut stop = serve::StopSignal::catch()?;
    let state = StateDir::create(&config.state_dir)?;
    state.refuse_second_up()?;
    let credentials = state.credentials(&config)?;
    config.keys = credentials.keys(&config.keys);
    config.admin_token = Some(credentials.admin_token.clone());
    let secrets = credentials.turn_secret.iter();
    let secrets = secrets.flat_map(|secrets| secrets.split(','));
    config.turn.secrets = secrets.map(str::to_owned).collect();
    // With `turn-tls-port` the data plane terminates TLS, because it separates TURN from HTTP.
    let shared = config.turn.tls_port.and_then(|_| config.tls.take());
    if let Some(files) = &shared {
        config.allowed_hosts.extend(files.names()?);
    }
    let socket = state.control_socket()?;
    let address = match &config.dataplane_control {
        Some(address) => address.clone(),
        None => ControlAddress::Unix(socket.clone()),
    };
    // The listener is bound before the child is started: a second `up` fails here and does not
    // disturb the first.
    let running = serve::start(&config, address).await?;
    let own = config.dataplane_control.is_none();
    let behind = shared.map(|files| (files, running.address));
    let supervisor = own.then(|| Supervisor::new(&config, &state, (socket, behind)));
    let supervisor = supervisor.transpose()?;
    let (end, ended) = tokio::sync::watch::channel(false);
    let child = async {
        match supervisor {
            Some(supervisor) => supervisor.run(ended).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(child);
    tokio::select! {
        result = &mut child => return result.context("the data plane cannot be run"),
        () = stop.received() => {}
        node = running.fleet.connected() => {
            let up = UpFile::new(&running.url, &credentials);
            state.write_up(&up)?;
            announce(&up, &config, &node.turn_urls().borrow(), &state);
            tokio::select! {
                result = &mut child => {
                    state.remove_up();
                    return result.context("the data plane cannot be run");
                }
                () = stop.received() => {}
            }
        }
    }
    tracing::info!("stopping");
    running.stop(stop.received()).await;
    end.send_replace(true);
    if own {
        child.await?;
    }
    state.remove_up();
    Ok(())
}

/// Prints URL and credentials for people. Programs read `up.json`.
fn announce(up: &UpFile, config: &Config, turn_urls: &[String], state: &StateDir) {
    let (url, key, secret) = (&up.url, &up.api_key, &up.api_secret);
    let relays: String = turn_urls
        .iter()
        .map(|url| format!("  TURN        {url}\n"))
        .collect();
    // The port for TURN over TLS also serves the page.
    let tls = turn_urls
        .iter()
        .find_map(|url| url.strip_prefix("turns:")?.split('?').next());
    let tls = tls.map_or_else(String::new, |host| {
        format!("  by TLS      https://{host}\n")
    });
    let log = state.child_log();
    let log = log.display();
    let path = &config.public_path;
    let said = print_line(&format!(
        "\nSpillway is up.\n\n  URL         {url}\n{tls}  API key     {key}\n  API secret  {secret}\n{relays}\n  \
         data plane log: {log}\n  try: open {url}{path}?room=demo in two windows, or `spillway room ls`\n"
    ));
    if let Err(error) = said {
        tracing::debug!(%error, "not announced");
    }
}
