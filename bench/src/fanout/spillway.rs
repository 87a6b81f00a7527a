//! Sessions through the gRPC control API of a data plane.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc;

use anyhow::Context;
use spillway_wire::dataplane as proto;
use spillway_wire::dataplane::data_plane_client::DataPlaneClient;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::StreamExt;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::request::{Index, Published, Request, RequestKind, ServerEvent};

/// An open control connection.
pub struct ServerConnection {
    client: DataPlaneClient<Channel>,
    events: Streaming<proto::Event>,
    /// Name of the run: its sessions are called `NAME-INDEX`.
    run: String,
    sessions: BTreeSet<Index>,
    event_sender: mpsc::Sender<ServerEvent>,
}

/// Connects to the control API at `control`.
pub async fn connect(control: SocketAddr) -> anyhow::Result<DataPlaneClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{control}"))?
        .connect()
        .await
        .with_context(|| format!("no data plane's control API at {control}"))?;
    Ok(DataPlaneClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// Maximum message size: the state of a node with tens of thousands of sessions.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// Reason with which this run closes its sessions; such events are not failures.
const REASON: &str = "the load test is over";

impl ServerConnection {
    /// Connects, and subscribes to events.
    pub async fn open(
        control: SocketAddr,
        event_sender: mpsc::Sender<ServerEvent>,
    ) -> anyhow::Result<Self> {
        let mut client = connect(control).await?;
        let events = client.watch_events(proto::WatchEventsRequest {}).await?;
        Ok(Self {
            client,
            events: events.into_inner(),
            run: format!("bench-{:08x}", fastrand::u32(..)),
            sessions: BTreeSet::new(),
            event_sender,
        })
    }

    /// Runs until the last sender is dropped; then ends all sessions.
    pub async fn run(
        mut self,
        mut request_receiver: UnboundedReceiver<Request>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                request = request_receiver.recv() => match request {
                    Some(request) => self.start(request),
                    None => return self.close_all().await,
                },
                event = self.events.next() => {
                    let event = event.context("the event stream ended")??;
                    self.on_event(event);
                }
            }
        }
    }

    /// Starts a task for each request; the farm bounds their number.
    fn start(&mut self, next: Request) {
        let (client, event_sender, run) = (
            self.client.clone(),
            self.event_sender.clone(),
            self.run.clone(),
        );
        let index = next.index;
        self.sessions.insert(index);
        tokio::spawn(async move {
            let server_event = match request(client, &run, next).await {
                Ok(server_event) => server_event,
                Err(error) => Some(ServerEvent::Failed {
                    index: Some(index),
                    why: format!("{error:#}"),
                }),
            };
            // The farm may be gone already.
            let _ = server_event.map(|server_event| event_sender.send(server_event));
        });
    }

    fn on_event(&self, event: proto::Event) {
        let index = |session: &str| {
            let number = session.strip_prefix(&self.run)?.strip_prefix('-')?;
            number.parse::<Index>().ok()
        };
        let server_event = match event.event {
            Some(proto::event::Event::Offer(offer)) => {
                index(&offer.session).map(|index| ServerEvent::Offered {
                    index,
                    revision: offer.revision,
                    sdp: offer.sdp,
                })
            }
            Some(proto::event::Event::Closed(closed)) => {
                index(&closed.session).map(|index| ServerEvent::Failed {
                    index: Some(index),
                    why: format!("the data plane closed it: {}", closed.reason),
                })
            }
            _ => None, // levels, layers and connections are not needed
        };
        let _ = server_event.map(|server_event| self.event_sender.send(server_event));
    }

    async fn close_all(self) -> anyhow::Result<()> {
        for index in &self.sessions {
            let session = name(&self.run, *index);
            let reason = REASON.into();
            let request = proto::CloseSessionRequest { session, reason };
            self.client.clone().close_session(request).await?;
        }
        Ok(())
    }
}

async fn request(
    mut client: DataPlaneClient<Channel>,
    run: &str,
    Request { index, kind }: Request,
) -> anyhow::Result<Option<ServerEvent>> {
    let session = name(run, index);
    match kind {
        RequestKind::Publish { offer, track } => {
            let request = proto::PutPublishRequest {
                session,
                offer_sdp: offer,
                tracks: vec![track_of(run, index, track)],
                annotation: vec![],
                owner: String::new(),
            };
            let sdp = client.put_publish(request).await?.into_inner().answer_sdp;
            Ok(Some(ServerEvent::Answered { index, sdp }))
        }
        RequestKind::Subscribe { watches, audio } => {
            let request = proto::PutSubscribeRequest {
                session: session.clone(),
                annotation: vec![],
                owner: String::new(),
            };
            client.put_subscribe(request).await?;
            let put = watches.into_iter().map(|publisher| proto::TrackWish {
                track: track_name(run, publisher),
                kind: media_kind(audio).into(),
                wish: Some(proto::Wish::default()),
                group: None,
            });
            let request = proto::PutSubscriptionsRequest {
                session,
                put: put.collect(),
                remove: vec![],
            };
            client.put_subscriptions(request).await?;
            Ok(None)
        }
        RequestKind::Answer { revision, sdp } => {
            let request = proto::PutAnswerRequest {
                session,
                revision,
                answer_sdp: sdp,
            };
            client.put_answer(request).await?;
            Ok(None)
        }
    }
}

fn track_of(run: &str, index: Index, track: Published) -> proto::Track {
    let layers = track.layers.into_iter().map(|(rid, height)| proto::Layer {
        rid: rid.into(),
        height,
    });
    proto::Track {
        track: track_name(run, index),
        mid: track.mid,
        kind: media_kind(track.audio).into(),
        layers: layers.collect(),
        annotation: vec![],
        muted: false,
    }
}

fn media_kind(audio: bool) -> proto::Kind {
    if audio {
        proto::Kind::Audio
    } else {
        proto::Kind::Video
    }
}

fn name(run: &str, index: Index) -> String {
    format!("{run}-{index}")
}

fn track_name(run: &str, publisher: Index) -> String {
    format!("{run}-track-{publisher}")
}
