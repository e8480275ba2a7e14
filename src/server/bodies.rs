//! Request and response bodies.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, Bytes},
};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::pulse::{InFlight, Pulse};
use crate::api::extract::BodyTimedOut;

/// Received bytes extend the deadline at this rate: a large body may take longer if it arrives at least this fast.
const MIN_BYTES_PER_SECOND: f64 = 16.0 * 1024.0;

/// A request body. It has a deadline.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Incoming,
    pulse: Arc<Pulse>,
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    pub(super) fn new(inner: Incoming, pulse: Arc<Pulse>) -> Self {
        let deadline = Instant::now() + pulse.limits().body;
        Self { inner, pulse, deadline, sleep: None }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.poll_deadline(cx));
            return Poll::Ready(Some(Err(BodyTimedOut.into())));
        };
        if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            #[expect(clippy::cast_precision_loss, reason = "a frame is small")]
            let earned = bytes.len() as f64 / MIN_BYTES_PER_SECOND;
            self.deadline += Duration::from_secs_f64(earned);
        }
        if frame.is_none() || self.inner.is_end_stream() {
            self.pulse.note_body_read();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body. The request is in flight until the body has been handed over.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _in_flight: InFlight,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
