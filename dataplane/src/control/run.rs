//! The loop of the control thread, its listeners, and the shutdown.

use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use spillway_wire::dataplane::data_plane_server::DataPlaneServer;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use super::grpc::Service;
use super::{Control, Request, http};
use crate::config::{Config, ControlAddr};
use crate::io::clock;
use crate::limits::COMMAND_QUEUE;

/// Interval of deadline checks.
const TICK: Duration = Duration::from_millis(50);
/// Time limit for shards to close their sessions at shutdown.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT; then lets the shards close their sessions.
pub async fn run(mut control: Control, config: &Config) -> anyhow::Result<()> {
    let (sender, mut requests) = mpsc::channel(COMMAND_QUEUE);
    serve(&control, config, sender).await?;
    let mesh = control.outbox.mesh().clone();
    let bell = mesh.control_bell();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut give_up_at = None;
    loop {
        control.read_mail(clock::now());
        if control.is_stopped() || give_up_at.is_some_and(|at| clock::now() >= at) {
            return Ok(());
        }
        tokio::select! {
            Some(request) = requests.recv() => control.on_request(request, clock::now()),
            () = bell.notified() => {}
            _ = tick.tick(), if control.waits() || give_up_at.is_some() => control.tick(clock::now()),
            _ = terminate.recv() => stop(&mut control, &mut give_up_at),
            _ = interrupt.recv() => stop(&mut control, &mut give_up_at),
        }
    }
}

fn stop(control: &mut Control, give_up_at: &mut Option<std::time::Instant>) {
    if give_up_at.is_none() {
        tracing::info!("stopping: closing all sessions");
        control.stop();
        *give_up_at = Some(clock::now() + SHUTDOWN_TIME);
    }
}

async fn serve(
    control: &Control,
    config: &Config,
    requests: mpsc::Sender<Request>,
) -> anyhow::Result<()> {
    let events = control.events().clone();
    let service = Service::new(requests.clone(), events, control.incarnation().to_owned());
    let router = Server::builder().add_service(DataPlaneServer::new(service));
    match &config.control {
        ControlAddr::Unix(path) => {
            let listener = UnixListener::from_std(bind_unix(path)?)?;
            tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        }
        ControlAddr::Tcp(addr) => {
            let listener = TcpListener::bind(addr).await;
            let listener = listener.with_context(|| format!("cannot listen on control {addr}"))?;
            tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        }
    }
    if let Some(addr) = config.metrics {
        let listener = TcpListener::bind(addr).await;
        let listener = listener.with_context(|| format!("cannot listen on metrics {addr}"))?;
        let url = format!("http://{}/metrics", listener.local_addr()?);
        tracing::info!(url, "metrics are served");
        tokio::spawn(http::serve(listener, requests));
    }
    Ok(())
}

/// Binds `path`. Replaces the socket of an ended process, but not the socket of a running process.
fn bind_unix(path: &Path) -> anyhow::Result<StdUnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!(
            "another data plane serves {}: stop it, or say another --control",
            path.display()
        );
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = StdUnixListener::bind(path)
        .with_context(|| format!("cannot listen on unix:{}", path.display()))?;
    // Every user that can connect controls this node, so only the owner may connect.
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
