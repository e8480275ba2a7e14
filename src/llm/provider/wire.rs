//! Reads what a provider sends, within limits: whole bodies, events and lines.
//!
//! *Architecture Invariant:* bytes are counted after decompression and before they are kept. No poll runs long, so a
//! caller's deadline is checked however fast the bytes come.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use reqwest::{Response, StatusCode, header::HeaderMap};
use sse_stream::SseByteStream;
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};

const MIB: usize = 1024 * 1024;
/// Maximum size of an answer that is not streamed.
pub(super) const MAX_BODY_BYTES: usize = 16 * MIB;
/// Maximum size of an event or a line of a stream.
pub(super) const MAX_FRAME_BYTES: usize = 4 * MIB;
/// Maximum size of a stream. Providers wrap each word in a few hundred bytes.
const MAX_STREAM_BYTES: usize = 256 * MIB;
/// How much of an error body is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// How long a task reads before it yields to others.
const LONGEST_BREATH: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the connection failed")]
    Connection(#[from] reqwest::Error),
    #[error("the server answered {}", .0.status)]
    Status(Box<Refusal>),
    /// An error instead of an answer; its text.
    #[error("an error in place of an answer")]
    Reported(String),
    #[error("nothing came in time")]
    TimedOut,
    #[error("the answer was cut")]
    Cut,
    #[error("that is no answer")]
    Unreadable,
    #[error("an answer without content")]
    Missing,
    /// Something exceeds its limit.
    #[error("{0}")]
    TooLarge(String),
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Fault {
    pub(super) fn too_large(what: &str, limit: usize) -> Self {
        Self::TooLarge(format!("{what} of more than {limit} bytes"))
    }
}

/// Checks the status: returns the response if it is a success.
pub(super) async fn accepted(mut response: Response) -> Result<Response, Fault> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    // The status tells the error even if the body cannot be read.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    body.truncate(MAX_ERROR_BYTES);
    let body = String::from_utf8_lossy(&body).into_owned();
    Err(Fault::Status(Box::new(Refusal { status, headers, body })))
}

pub(super) async fn read_whole(response: Response) -> Result<Vec<u8>, Fault> {
    let mut chunks = std::pin::pin!(chunks(response));
    let mut body = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Fault::too_large("an answer", MAX_BODY_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The chunks of the body. Yields to other tasks between them.
fn chunks(response: Response) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    stream::try_unfold((response, Instant::now()), |(mut response, mut rested)| async move {
        if rested.elapsed() > LONGEST_BREATH {
            tokio::task::yield_now().await;
            rested = Instant::now();
        }
        let chunk = response.chunk().await?;
        Ok(chunk.map(|chunk| (chunk, (response, rested))))
    })
}

/// How a stream is split into frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    ServerSentEvents,
    Lines,
}

/// The frames of a stream: the data of an event, or a line.
pub(super) struct Frames {
    frames: BoxStream<'static, Result<String, Fault>>,
    /// Bytes received since the last frame.
    since_last: Arc<AtomicUsize>,
}

impl Frames {
    pub(super) fn new(response: Response, framing: Framing) -> Self {
        let since_last = Arc::new(AtomicUsize::new(0));
        let counted = count(chunks(response), since_last.clone());
        let frames = match framing {
            Framing::ServerSentEvents => events(counted),
            Framing::Lines => lines(counted),
        };
        Self { frames, since_last }
    }

    /// `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Fault> {
        while let Some(frame) = self.frames.try_next().await? {
            self.since_last.store(0, Ordering::Relaxed);
            let frame = frame.trim();
            if !frame.is_empty() {
                return Ok(Some(frame.to_owned()));
            }
        }
        Ok(None)
    }
}

fn count(
    chunks: impl Stream<Item = Result<Bytes, Fault>> + Send,
    since_last: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    let mut total = 0;
    chunks.map(move |chunk| {
        let chunk = chunk?;
        total += chunk.len();
        if since_last.fetch_add(chunk.len(), Ordering::Relaxed) > MAX_FRAME_BYTES {
            return Err(Fault::too_large("an event", MAX_FRAME_BYTES));
        }
        if total > MAX_STREAM_BYTES {
            return Err(Fault::too_large("a stream", MAX_STREAM_BYTES));
        }
        Ok(chunk)
    })
}

fn events(
    chunks: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static,
) -> BoxStream<'static, Result<String, Fault>> {
    // Some servers omit the empty line after the last event.
    let end = stream::once(async { Ok(Bytes::from_static(b"\n\n")) });
    let events = SseByteStream::new(Box::pin(chunks.chain(end)));
    let data = events.map(|event| match event {
        Ok(event) => Ok(event.data.unwrap_or_default()),
        Err(sse_stream::Error::Body(error)) => Err(error.downcast().map_or(Fault::Unreadable, |fault| *fault)),
        Err(_) => Err(Fault::Unreadable),
    });
    Box::pin(data)
}

fn lines(
    chunks: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static,
) -> BoxStream<'static, Result<String, Fault>> {
    let reader = StreamReader::new(Box::pin(chunks.map_err(io::Error::other)));
    let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_FRAME_BYTES));
    Box::pin(lines.map_err(|error| match error {
        LinesCodecError::MaxLineLengthExceeded => Fault::too_large("a line", MAX_FRAME_BYTES),
        LinesCodecError::Io(error) => error.downcast().unwrap_or(Fault::Unreadable),
    }))
}
