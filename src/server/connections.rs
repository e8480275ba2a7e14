//! Accepts connections and serves requests on them. [`Pulse`] limits how long a connection may stay open without
//! progress.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

use super::{
    bodies::{Answer, Upload},
    pulse::{LINGER, Limits, Pulse},
    socket::{MAX_HEAD_BYTES, Socket},
};
use crate::{
    api::{Problem, gate::LocalAddress},
    config::ServerSettings,
    model::Error,
};

/// HTTP/2 keep-alive: the interval of pings, and the timeout of their answers.
const PING: Duration = Duration::from_secs(20);
/// How many clients at a time get a 503 when the server is full. Other connections are closed without an answer.
const MAX_TURNED_AWAY: usize = 64;
/// Pause after an accept error that is not caused by the client, such as a lack of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves `service` on `listener` until `stop` is cancelled. Then accepts no new connections, and returns when the open
/// ones have ended.
pub(super) async fn serve<S>(listener: TcpListener, service: S, settings: &ServerSettings, stop: &CancellationToken)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let limits = Limits::from(settings);
    let builder = Arc::new(builder());
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)));
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
    while let Some(stream) = stop.run_until_cancelled(accept(&listener)).await {
        if let Ok(place) = places.clone().try_acquire_owned() {
            let (builder, service, stop) = (builder.clone(), service.clone(), stop.clone());
            tasks.spawn(async move {
                serve_connection(&builder, stream, service, limits, &stop).await;
                drop(place);
            });
        } else if let Ok(place) = turned_away.clone().try_acquire_owned() {
            let max = settings.max_connections;
            tasks.spawn(async move {
                turn_away(stream, max).await;
                drop(place);
            });
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // `Pulse` has the timeouts of HTTP/1.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
    builder
}

async fn accept(listener: &TcpListener) -> TcpStream {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset) => {}
            Err(error) => {
                tracing::error!(%error, "No connections can be taken; trying again in a second.");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends, until `stop` is cancelled and its requests are done, or until its deadline.
async fn serve_connection<S>(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    service: S,
    limits: Limits,
    stop: &CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let pulse = Pulse::new(limits);
    let local = stream.local_addr().ok().map(|address| LocalAddress(address.ip()));
    let io = TokioIo::new(Socket::new(stream, pulse.clone()));
    let answering = Answering { service, pulse: pulse.clone(), local };
    let mut connection = pin!(builder.serve_connection(io, answering));
    let mut stopped = pin!(stop.cancelled());
    let mut alarm = pin!(tokio::time::sleep(limits.idle));
    let (mut is_told, mut last_chance) = (false, None::<Instant>);
    std::future::poll_fn(|cx| {
        if !is_told && stopped.as_mut().poll(cx).is_ready() {
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // Busy connections are polled again later: with HTTP/2, the end of a response may not wake this task.
            let deadline = pulse.deadline();
            let at = match deadline {
                Some(deadline) => last_chance.map_or(deadline, |last_chance| deadline.max(last_chance)),
                None if alarm.is_elapsed() => Instant::now() + limits.idle,
                None => alarm.deadline(),
            };
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
            std::task::ready!(alarm.as_mut().poll(cx));
            match deadline {
                None => {}
                // A request may be on its way, so an idle connection gets a graceful shutdown.
                Some(_) if last_chance.is_none() && pulse.is_idle() => {
                    connection.as_mut().graceful_shutdown();
                    last_chance = Some(Instant::now() + LINGER);
                }
                Some(_) => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// Answers 503: there are too many connections.
async fn turn_away(mut stream: TcpStream, max: usize) {
    let detail = format!("This server has {max} connections already (server.max_connections); try again in a moment");
    let message = Problem::from(Error::unavailable(detail)).into_message();
    let telling = async {
        stream.write_all(&message).await?;
        stream.shutdown().await?;
        // The request has to be drained: closing with unread input would reset the connection and lose the answer.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Errors are ignored: the client may have disconnected.
    let _ = tokio::time::timeout(LINGER, telling).await;
}

/// Hands the requests of a connection to the service.
#[derive(Clone, Debug)]
struct Answering<S> {
    service: S,
    pulse: Arc<Pulse>,
    local: Option<LocalAddress>,
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for Answering<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = hyper::Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let has_body = !request.body().is_end_stream();
        let in_flight = self.pulse.begin(has_body);
        let mut request =
            request.map(|body| if has_body { Body::new(Upload::new(body, self.pulse.clone())) } else { Body::empty() });
        if let Some(local) = self.local {
            request.extensions_mut().insert(local);
        }
        let answering = self.service.clone().oneshot(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| Answer { body, _in_flight: in_flight }))
        })
    }
}
