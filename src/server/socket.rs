//! The socket of a connection. It reports reads and writes to the [`Pulse`], answers unreadable requests with a problem
//! document, and closes in a way that lets the client read the response.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::pulse::Pulse;
use crate::api::Problem;

/// Maximum size of a request's head.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Maximum input to discard on close. Draining lets a client that reads only after sending everything get its response.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;
/// The first bytes of HTTP/2; no method of HTTP/1 begins with them.
const HTTP_2: &[u8] = b"PRI ";

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    has_read: bool,
    is_http_2: bool,
    /// The first line of a request is incomplete.
    is_in_first_line: bool,
    /// The response that replaces hyper's own refusal, and how many bytes of it are written.
    refusal: Option<(Vec<u8>, usize)>,
    drained: Option<usize>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, has_read: false, is_http_2: false, is_in_first_line: false, refusal: None, drained: None }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        self.is_http_2 |= !self.has_read && bytes.starts_with(HTTP_2);
        self.has_read = true;
        if !self.is_http_2 {
            self.is_in_first_line |= self.pulse.note_read();
            self.is_in_first_line &= !bytes.contains(&b'\n');
        }
    }

    /// The reason for hyper's refusal: hyper answers unreadable requests by itself, with an empty body.
    fn explain(&self, answer: &[u8]) -> Option<Problem> {
        if !self.pulse.is_in_head() || self.is_http_2 || !contains(answer, b"\r\ncontent-length: 0\r\n") {
            return None;
        }
        let too_long = || {
            let detail = "The address is longer than this server takes; send what is long in the body";
            Problem::new(StatusCode::URI_TOO_LONG, detail)
        };
        match answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
            b"400" => Some(Problem::unreadable("What was sent is no HTTP request; send one")),
            b"414" => Some(too_long()),
            b"431" if self.is_in_first_line => Some(too_long()),
            b"431" => Some(Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("The headers are more than 100 or larger than {MAX_HEAD_BYTES} bytes; send fewer"),
            )),
            _ => None,
        }
    }

    /// Writes the rest of a refusal.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((message, written)) = &mut self.refusal {
            if *written == message.len() {
                self.refusal = None;
                break;
            }
            *written += ready!(Pin::new(&mut self.stream).poll_write(cx, &message[*written..]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn noted<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.pulse.note_write(poll.is_pending());
        poll
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        length: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() {
            self.refusal = self.explain(first).map(|problem| (problem.into_message(), 0));
        }
        if self.refusal.is_some() {
            let written = self.poll_refusal(cx);
            return self.noted(written).map_ok(|()| length);
        }
        let written = write(Pin::new(&mut self.stream), cx);
        self.noted(written)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.note_read(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, buf, buf.len(), |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.first().map(|buf| &**buf).unwrap_or_default();
        let length = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_write_with(cx, first, length, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Shuts down the write side. If the client may still be sending, then drains input for a while: closing at once
    /// would reset the connection, and the client would lose the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.drained.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.pulse.is_unread() {
                return Poll::Ready(Ok(()));
            }
            self.drained = Some(0);
            self.pulse.close();
        }
        let mut bytes = [0; 16 * 1024];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let drained = self.drained.unwrap_or_default() + buf.filled().len();
            if buf.filled().is_empty() || drained > MAX_DRAINED_BYTES {
                return Poll::Ready(Ok(()));
            }
            self.drained = Some(drained);
            self.pulse.close();
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
