//! The server loop: connections in, one task each, and an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long a client may take to send a request's head; also how long a kept-alive connection may idle. Longer than
/// clients keep theirs, so that a client does not send on a connection that is just being closed.
const HEAD_PATIENCE: Duration = Duration::from_mins(2);

/// Serves until `stop` completes, then lets requests on their way finish for up to `drain`; what is still there
/// after that is cut off, which ends its requests as dropped.
///
/// `TCP_NODELAY` is set on every connection: without it a stream on a kept-alive connection stalls for 40 ms at a
/// time, because Nagle's algorithm and delayed acknowledgements wait for each other.
///
/// # Errors
/// If the listener has no address any more.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "serving");
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let socket = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    accept_failed(&error).await;
                    continue;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                log_end(ended);
                continue;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let router = router.clone();
            async move { Ok::<_, Infallible>(answer(router, request.map(Body::new)).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(socket), service).into_owned();
        let mut stopped = stopped.clone();
        connections.spawn(async move {
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                _ = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        });
    }
    drop(listener);
    tracing::info!(connections = connections.len(), "draining");
    stopping.send_replace(true);
    let ended = tokio::time::timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            log_end(ended);
        }
    });
    if ended.await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off: still there after the time to drain");
        connections.shutdown().await;
    }
    Ok(())
}

async fn answer(router: Router, request: hyper::Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn log_end(ended: Result<Result<(), Box<dyn std::error::Error + Send + Sync>>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        // Clients go away as they please.
        Ok(Err(error)) => tracing::debug!(error, "a connection ended early"),
        Err(error) => tracing::error!(%error, "a connection's task failed"),
    }
}

/// Errors of one connection pass; running out of descriptors needs a pause, or the loop would spin.
async fn accept_failed(error: &io::Error) {
    let passing = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !passing.contains(&error.kind()) {
        tracing::error!(%error, "accepting a connection failed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
