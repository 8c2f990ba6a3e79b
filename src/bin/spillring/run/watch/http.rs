//! Serves `/metrics`, `/healthz` and `/readyz` on a thread of its own.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as Socket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::health::RunHealth;
use crate::console::Problem;

/// Further connections wait until one of these ends.
const CONNECTIONS_MAX: usize = 32;
/// The longest duration of a connection, which serves one request.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// The wait after a failed accept, for example when no more files can be opened.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Time between two compactions of the histograms, which happen even if nobody reads them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Histogram buckets: of durations in seconds, and of entries per batch.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
const ENTRIES: [f64; 8] = [1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_000.0, 4_000.0];

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The bound address. Connections wait until it serves.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: SocketAddr,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct HttpServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the pages show.
struct Site {
    health: RunHealth,
    metrics: PrometheusHandle,
}

/// Keeps the metrics, and renders them for Prometheus.
pub(super) fn exporter() -> Result<PrometheusRecorder, Problem> {
    let entries = Matcher::Full("aa_audit_batch_entries".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(entries, &ENTRIES))
        .map(PrometheusBuilder::build_recorder)
        .map_err(Problem::new)
}

impl Listener {
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Problem> {
        let bind = || {
            let socket = Socket::bind(address)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|error: std::io::Error| {
            Problem::new(format_args!(
                "cannot listen on {address}: {error}; give an address of this host that is free with `--listen`"
            ))
        })
    }

    /// With the port that the system picked, if it was 0.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn serve(
        self,
        health: RunHealth,
        metrics: PrometheusHandle,
    ) -> Result<HttpServer, Problem> {
        let failed =
            |error| Problem::new(format_args!("cannot serve on {}: {error}", self.address));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let socket = {
            let _inside = runtime.enter();
            TcpListener::from_std(self.socket).map_err(failed)?
        };
        let site = Arc::new(Site { health, metrics });
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("spillring-http".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::spawn(keep_up(site.metrics.clone()));
                    tokio::spawn(accept(socket, site));
                    // The sender is dropped to stop. All tasks end with the runtime.
                    stopped.await.unwrap_or_default();
                });
            })
            .map_err(failed)?;
        Ok(HttpServer {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of the thread is ignored.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn keep_up(metrics: PrometheusHandle) {
    loop {
        sleep(UPKEEP_EVERY).await;
        metrics.run_upkeep();
    }
}

async fn accept(socket: TcpListener, site: Arc<Site>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match socket.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&site), permit))),
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}

/// Serves one request. Errors of the client are ignored.
async fn serve(stream: TcpStream, site: Arc<Site>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let response = site.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    drop(timeout(CONNECTION_MAX, connection).await);
}

impl Site {
    fn respond(&self, request: &Request<Incoming>) -> Response<String> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD".to_owned(),
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let mut response = Response::new(self.metrics.render());
                response.headers_mut().insert(CONTENT_TYPE, PROMETHEUS);
                response
            }
            "/healthz" => probe(self.health.live()),
            "/readyz" => probe(self.health.ready()),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz and /readyz".to_owned(),
            ),
        }
    }
}

fn probe(outcome: Result<(), String>) -> Response<String> {
    match outcome {
        Ok(()) => text(StatusCode::OK, "ok".to_owned()),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

fn text(status: StatusCode, line: String) -> Response<String> {
    let mut response = Response::new(line + "\n");
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
