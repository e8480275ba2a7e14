//! A run's events as Server-Sent Events: `id:` the event's index, `event:` its name, `data:` one line of JSON.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt, stream};
use serde_json::Value;

use super::encode::{self, EncodedEvent, EventSource};
use crate::processes::Reader;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams events from `reader` until the run ends. If the client disconnects, only the reader ends, not the run.
pub fn respond(source: EventSource, reader: Reader) -> Response {
    send(read(source, reader))
}

/// Like [`respond`], after a first frame that says where the stream starts.
pub fn respond_after(frame: (&'static str, Value), source: EventSource, reader: Reader) -> Response {
    send(stream::iter([say(frame)]).chain(read(source, reader)))
}

/// Like [`respond_after`], and sends the frame `subscribed` once the reader has caught up to the event `until`.
pub fn respond_catching_up(
    frame: (&'static str, Value),
    until: i32,
    subscribed: (&'static str, Value),
    source: EventSource,
    reader: Reader,
) -> Response {
    let state = (source, reader, Some(say(subscribed)));
    let rest = stream::unfold(state, move |(source, mut reader, mut subscribed)| async move {
        if reader.position() >= until
            && let Some(frame) = subscribed.take()
        {
            return Some((frame, (source, reader, None)));
        }
        let event = next(&source, &mut reader).await?;
        Some((event, (source, reader, subscribed)))
    });
    send(stream::iter([say(frame)]).chain(rest))
}

/// A stream with a single `error` event.
pub fn respond_with_error(error: Value) -> Response {
    send(stream::iter([say(("error", error))]))
}

fn read(source: EventSource, reader: Reader) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold((source, reader), async |(source, mut reader)| {
        let event = next(&source, &mut reader).await?;
        Some((event, (source, reader)))
    })
}

/// The next event that exists on the wire; others are skipped.
async fn next(source: &EventSource, reader: &mut Reader) -> Option<Event> {
    loop {
        let event = reader.next().await?;
        if let Some(EncodedEvent { index, name, data }) = encode::encode(source, &event) {
            return Some(Event::default().id(index.to_string()).event(name).data(data));
        }
    }
}

fn say((name, data): (&'static str, Value)) -> Event {
    Event::default().event(name).data(data.to_string())
}

fn send(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keepalive")).into_response()
}
