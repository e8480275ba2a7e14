//! A run's events as Server-Sent Events: `id:` the event's index, `event:` its name, `data:` one line of JSON.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt, stream};
use serde_json::Value;

use super::{events::EncodedEvent, following::Follower};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams what `follower` reads until the run is over. When the client goes away only the reader ends.
pub fn respond(follower: Follower) -> Response {
    send(read(follower))
}

/// As [`respond`], after a frame that says where it begins.
pub fn respond_after(frame: (&'static str, Value), follower: Follower) -> Response {
    send(stream::iter([say(frame)]).chain(read(follower)))
}

/// As [`respond_after`], for a reader that is told when it has caught up: at the event `until`.
pub fn respond_catching_up(
    frame: (&'static str, Value),
    until: i32,
    subscribed: (&'static str, Value),
    follower: Follower,
) -> Response {
    let rest = stream::unfold((follower, Some(say(subscribed))), move |(mut follower, mut subscribed)| async move {
        if follower.position() >= until
            && let Some(frame) = subscribed.take()
        {
            return Some((frame, (follower, None)));
        }
        let event = follower.next().await?;
        Some((encode(&event), (follower, subscribed)))
    });
    send(stream::iter([say(frame)]).chain(rest))
}

/// A stream that only says what is wrong.
pub fn respond_with_error(error: Value) -> Response {
    send(stream::iter([say(("error", error))]))
}

fn read(follower: Follower) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((encode(&event), follower))
    })
}

fn say((name, data): (&'static str, Value)) -> Event {
    Event::default().event(name).data(data.to_string())
}

fn send(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keepalive")).into_response()
}

fn encode(event: &EncodedEvent) -> Event {
    Event::default().id(event.index.to_string()).event(&*event.name).data(&*event.data)
}
