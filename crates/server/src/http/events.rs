//! The feed as server-sent events (HTML standard, section 9.2).

use std::{convert::Infallible, time::Duration};

use argosy_wire::rest::events::{AgentEvent, CommandEvent, SyncEvent};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, Params},
};
use crate::app::{
    App,
    feed::{FeedEvent, FeedItem, FeedWatcher, Told},
};

/// Something is sent at least this often, so that dead connections are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a reader at most.
const QUEUE_MAX: usize = 64;
/// A reader that takes no event for this long is cut off.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// What to watch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Kinds with commas between them: `agent`, `command`, `security`, `sync`. All, where none is
    /// named.
    kinds: Option<String>,
}

/// Tells what changes, as it changes.
///
/// Server-sent events `agent`, `command`, `security` and `sync`, each with JSON as data, and of each what
/// the caller's scopes let it read. With `Last-Event-ID` it goes on where an earlier connection ended, up
/// to an hour back; an event `reset` says that something may be missing: read the lists anew. An event
/// may come twice. The stream ends when its credential does.
#[utoipa::path(
    get, path = "/events/stream", tag = "events", params(Wanted),
    security(("api_key" = ["events:read"])),
    responses((status = 200, body = String, content_type = "text/event-stream"), Problems)
)]
pub(super) async fn stream(
    State(app): State<App>,
    By(caller): By,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Answer<impl IntoResponse> {
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let watcher = app.watch_feed(caller, wanted.kinds.as_deref(), after).await?;
    let (queue, events) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(pump(watcher, queue));
    let events = Sse::new(ReceiverStream::new(events));
    let events = events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // A proxy that collects answers would hold events up.
    Ok(([(header::CACHE_CONTROL, "no-store"), (ACCEL, "no")], events))
}

/// Asks proxies of the nginx family not to buffer.
const ACCEL: header::HeaderName = header::HeaderName::from_static("x-accel-buffering");

/// Passes on what is told, until either side ends.
async fn pump(mut watcher: FeedWatcher, queue: mpsc::Sender<Result<Event, Infallible>>) {
    let begun = Event::default().comment("watching");
    let mut next = Some(begun);
    while let Some(event) = next {
        if queue.send_timeout(Ok(event), READER_PATIENCE).await.is_err() {
            return;
        }
        let told = tokio::select! {
            told = watcher.next() => told,
            () = queue.closed() => return,
        };
        next = told.and_then(|told| event_of(&told));
    }
}

fn event_of(told: &Told) -> Option<Event> {
    let item = match told {
        Told::Reset => return Some(Event::default().event("reset").data("{}")),
        Told::Item(item) => item,
    };
    let data = data_of(item).ok()?;
    let (id, kind) = (item.at.as_micros().to_string(), item.event.kind().as_str());
    Some(Event::default().id(id).event(kind).data(data))
}

fn data_of(item: &FeedItem) -> serde_json::Result<String> {
    fn text(data: &impl Serialize) -> serde_json::Result<String> {
        serde_json::to_string(data)
    }
    let at = item.at.to_string();
    match &item.event {
        FeedEvent::Agent(agent) => text(&AgentEvent {
            at,
            agent_id: agent.id.to_string(),
            name: agent.name.clone(),
            status: agent.status.to_owned(),
            health: agent.health.to_owned(),
            connected: agent.connected,
            changed: agent.changed.iter().map(|field| (*field).to_owned()).collect(),
        }),
        FeedEvent::Command(command) => text(&CommandEvent {
            at,
            command_id: command.id.to_string(),
            agent_id: command.agent.to_string(),
            kind: command.kind.clone(),
            state: command.state.clone(),
        }),
        FeedEvent::Sync(sync) => text(&SyncEvent {
            at,
            sync_job_id: sync.id.to_string(),
            account_id: sync.account.0,
            agent_id: sync.agent.as_ref().map(ToString::to_string),
            status: sync.status.as_str().to_owned(),
            chunks: sync.chunks,
        }),
        FeedEvent::Security(event) => text(&convert::security_event(event.clone())),
    }
}
