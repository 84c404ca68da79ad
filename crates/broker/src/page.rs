//! The page that Prometheus reads: `GET /metrics` over plain HTTP.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

/// What Prometheus asks for by default.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at once; scrapers come one at a time.
const CONNECTIONS_MAX: usize = 16;
/// For a request to arrive, and for a connection as a whole.
const HEADER_TIME: Duration = Duration::from_secs(10);
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// What is written for whoever asks, one at a time: somebody who has left goes on blocking a thread until it is written.
#[derive(Clone)]
struct Page {
    registry: Arc<Registry>,
    turn: Arc<Semaphore>,
}

/// Serves the page until `stop` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let page = Page { registry, turn: Arc::new(Semaphore::new(1)) };
    let mut connections = JoinSet::new();
    while !*stop.borrow() {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match Arc::clone(&seats).try_acquire_owned() {
                    Ok(seat) => {
                        let page = page.clone();
                        connections.spawn(async move {
                            one(stream, peer, page).await;
                            drop(seat);
                        });
                    }
                    Err(_) => tracing::warn!(%peer, "too many readers of the metrics page"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a reader of the metrics page could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stop.changed() => {}
        }
    }
}

async fn one(stream: TcpStream, peer: SocketAddr, page: Page) {
    let answer = service_fn(move |request: Request<Incoming>| answer_to(request, page.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(CONNECTION_TIME, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a reader of the metrics page left"),
    }
}

async fn answer_to(
    request: Request<Incoming>,
    Page { registry, turn }: Page,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "the page is /metrics\n"));
    }
    if request.method() != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "GET it\n"));
    }
    // It is never closed.
    let turn = turn.acquire_owned().await.ok();
    // Every partition and coordinator is asked for its numbers, and has a lock.
    let written = spawn_blocking(move || {
        let mut page = String::new();
        let written = text::encode(&mut page, &registry).map(|()| page);
        drop(turn);
        written
    });
    Ok(match written.await {
        Ok(Ok(page)) => {
            let mut response = Response::new(Full::from(page));
            let kind = header::HeaderValue::from_static(CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Ok(Err(_)) | Err(_) => {
            tracing::error!("the metrics page could not be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n")
        }
    })
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::{Mutex, mpsc},
    };

    use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Says that it is asked, and then waits until it is told to go on.
    #[derive(Debug)]
    struct Slow {
        asked: tokio::sync::mpsc::UnboundedSender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl Collector for Slow {
        fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.asked.send(()).map_err(|_gone| fmt::Error)?;
            self.go_on.lock().unwrap().recv_timeout(HEADER_TIME).map_err(|_late| fmt::Error)
        }
    }

    #[tokio::test]
    async fn a_page_that_takes_its_time_leaves_the_worker_to_others() {
        let (asked, mut is_asked) = tokio::sync::mpsc::unbounded_channel();
        let (go, go_on) = mpsc::channel();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Slow { asked, go_on: Mutex::new(go_on) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopping) = watch::channel(false);
        let served = tokio::spawn(serve(listener, Arc::new(registry), stopping));
        let mut reader = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        reader.write_all(request).await.unwrap();
        is_asked.recv().await.unwrap();
        go.send(()).unwrap();
        let mut page = String::new();
        reader.read_to_string(&mut page).await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        served.abort();
    }
}
