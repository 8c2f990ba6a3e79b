//! One connection to one server. It is used until it breaks; the client never reconnects.
//!
//! By itself the client would reconnect, silently drop what it was writing at that moment, and then send the rest of
//! its queue: messages in the middle would be lost while later ones were stored, and acknowledgements would time out
//! one by one. So reconnecting is disabled. The client has no switch for that (`max_reconnects` counts the first
//! attempt as well), but it lets us pick the server: the first pick is the real one, each later pick is [`NOWHERE`],
//! which refuses at once. The client then gives up, and everything that waits for it fails at the same moment.

use std::future::{self, Future};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ReconnectToServer, Server, ServerAddr};
use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{self, NoAnswer};
use super::permissions::Permissions;
use super::{credentials, port};
use crate::config::{DiscoveredServers, NatsConfig, NatsUrl};
use crate::error::SinkError;
use crate::host::log;

/// The address that keeps a client from reconnecting: nothing can listen on port 0.
const NOWHERE: &str = "nats://127.0.0.1:0";
/// The time limit for one server.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How many messages wait inside the client. Few, because they cannot be taken back when the server stops reading;
/// sending waits for room.
const CLIENT_QUEUE: usize = 128;
/// How long to wait for the last error of a connection that has ended.
const LAST_WORDS_MAX: Duration = Duration::from_millis(250);
/// How long acknowledgements may still arrive after the server has denied publishing.
const DENIED_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(in crate::sink) struct Connection {
    client: Client,
    notices: watch::Receiver<Notices>,
    permissions: Permissions,
    url: NatsUrl,
    /// The same, masked.
    server: String,
    greeted_in: Duration,
    greeted: Instant,
    /// Until when answers may still arrive, once something was denied.
    grace: Option<Instant>,
}

/// Notices from the server that answer no request.
#[derive(Debug, Default)]
struct Notices {
    /// It denied something.
    denied: Option<String>,
    /// The last other error.
    error: Option<String>,
    /// It is about to shut down.
    lame_duck: bool,
}

impl Connection {
    /// Connects to one of the servers, trying each once.
    pub(in crate::sink) async fn open(
        config: &NatsConfig,
        discovered: &[NatsUrl],
        until: Instant,
    ) -> Result<Self, SinkError> {
        let mut urls: Vec<&NatsUrl> = config.urls.iter().collect();
        fastrand::shuffle(&mut urls);
        urls.extend(discovered.iter().filter(|url| !config.urls.contains(url)));
        let mut failures = Vec::new();
        for (done, url) in urls.iter().enumerate() {
            let left = u32::try_from(urls.len() - done).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / left;
            match Self::open_one(config, url, share.min(CONNECT_MAX)).await {
                Ok(connection) => return Ok(connection),
                Err(why) => failures.push((url.to_string(), why)),
            }
        }
        Err(failure::of_all(failures))
    }

    async fn open_one(
        config: &NatsConfig,
        url: &NatsUrl,
        limit: Duration,
    ) -> Result<Self, SinkError> {
        let parsed = |url: &NatsUrl| {
            let address = url.address();
            address.map_err(|error| SinkError::Misconfigured(error.to_string()))
        };
        let (address, nowhere) = (parsed(url)?, parsed(&NOWHERE.into())?);
        let (sender, notices) = watch::channel(Notices::default());
        // The rest is for probing a silent port.
        let patience = limit.saturating_sub(port::PROBE_MAX.min(limit / 4));
        let options = options(config, limit, sender);
        let options = credentials::add(options, config, &address).await?;
        let address = credentials::removed(address)?;
        let servers = vec![address.clone(), nowhere];
        let begun = Instant::now();
        let client = match timeout(patience, options.connect(servers)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) if failure::is_silence(&error) => {
                return Err(port::explain(&address, &error.to_string()).await);
            }
            Ok(Err(error)) => return Err(failure::of_connect(&error)),
            Err(_) => {
                return Err(
                    port::explain(&address, &format!("no answer within {patience:?}")).await,
                );
            }
        };
        Ok(Self {
            client,
            notices,
            permissions: Permissions::needed(config),
            url: url.clone(),
            server: url.to_string(),
            greeted_in: begun.elapsed(),
            greeted: Instant::now(),
            grace: None,
        })
    }

    /// How long it took to connect.
    pub(in crate::sink) fn greeted_in(&self) -> Duration {
        self.greeted_in
    }

    pub(super) fn age(&self) -> Duration {
        self.greeted.elapsed()
    }

    /// Still up, and the server is not about to close it.
    pub(in crate::sink) fn is_usable(&self) -> bool {
        let notices = self.notices.borrow();
        self.is_up() && !notices.lame_duck && notices.denied.is_none()
    }

    pub(in crate::sink) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(in crate::sink) fn server(&self) -> &str {
        &self.server
    }

    pub(in crate::sink) fn client(&self) -> &Client {
        &self.client
    }

    /// The largest payload, headers included, that the server takes. A server may change it at any time.
    pub(in crate::sink) fn payload_max(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The version of the server; zeros if it cannot be parsed.
    pub(super) fn server_version(&self) -> (u64, u64, u64) {
        let version = self.client.server_info().version;
        let mut parts = version
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// The servers that this one has announced. The TLS and credentials of its own URL hold for them as well.
    pub(in crate::sink) fn discovered(&self, policy: DiscoveredServers) -> Vec<NatsUrl> {
        match policy {
            DiscoveredServers::Ignore => Vec::new(),
            DiscoveredServers::Use => {
                let named = self.client.server_info().connect_urls;
                named.iter().map(|host| self.url.at(host)).collect()
            }
        }
    }

    /// Waits for an answer until `until`, or only shortly once the server has denied something: a denied request is
    /// never answered.
    pub(in crate::sink) async fn answer<F: Future>(
        &mut self,
        until: Instant,
        answer: F,
    ) -> Result<F::Output, NoAnswer> {
        let mut answer = pin!(answer);
        let denied = async {
            let notices = self
                .notices
                .wait_for(|notices| notices.denied.is_some())
                .await;
            match notices.ok().and_then(|notices| notices.denied.clone()) {
                Some(said) => said,
                // The connection has ended, so no answer will come.
                None => future::pending().await,
            }
        };
        match timeout_at(until, select(&mut answer, pin!(denied))).await {
            Ok(Either::Left((output, _))) => Ok(output),
            Ok(Either::Right((said, _))) => {
                let grace = *self
                    .grace
                    .get_or_insert_with(|| Instant::now() + DENIED_GRACE);
                let late = timeout_at(grace.min(until), answer).await;
                late.map_err(|_| NoAnswer::Denied(self.permissions.explain(&said)))
            }
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// What the server has denied, and the remedy.
    pub(in crate::sink) fn denied(&self) -> Option<String> {
        let notices = self.notices.borrow();
        notices
            .denied
            .as_ref()
            .map(|said| self.permissions.explain(said))
    }

    /// The server's reason for ending the connection, if it gave one.
    pub(super) async fn last_words(&mut self) -> Option<String> {
        // The sending half is dropped with the client's last event, which ends the wait.
        let end = self.notices.wait_for(|_| false);
        timeout(LAST_WORDS_MAX, end).await.ok();
        self.notices.borrow().error.clone()
    }
}

fn options(config: &NatsConfig, limit: Duration, sender: watch::Sender<Notices>) -> ConnectOptions {
    let sender = Arc::new(sender);
    ConnectOptions::new()
        .name(&config.name)
        .custom_inbox_prefix(config.inbox())
        .connection_timeout(limit)
        .ping_interval(config.ping_interval)
        .client_capacity(CLIENT_QUEUE)
        // Discovered servers are tried by `open`; in the client's own pool they would break `once`.
        .ignore_discovered_servers()
        .max_reconnects(1)
        .reconnect_to_server_callback(once())
        .event_callback(move |event| {
            note(&sender, event);
            future::ready(())
        })
}

/// Picks the first server of the pool the first time, and [`NOWHERE`], the last one, ever after.
fn once() -> impl Fn(Vec<Server>, async_nats::ServerInfo) -> future::Ready<Option<ReconnectToServer>>
{
    let fresh = AtomicBool::new(true);
    move |pool, _| {
        // Relaxed: the client calls it from one task.
        let pick = if fresh.swap(false, Ordering::Relaxed) {
            pool.first()
        } else {
            pool.last()
        };
        future::ready(pick.map(|server| ReconnectToServer {
            addr: ServerAddr::clone(&server.addr),
            delay: Some(Duration::ZERO),
        }))
    }
}

fn note(sender: &watch::Sender<Notices>, event: Event) {
    match event {
        Event::ServerError(error) => {
            let text = error.to_string();
            let denied = text.to_lowercase().contains("permissions violation");
            sender.send_modify(|notices| {
                if !denied {
                    notices.error = Some(text);
                } else if notices.denied.is_none() {
                    notices.denied = Some(text);
                }
            });
        }
        Event::LameDuckMode => {
            log::info!(
                "the NATS server is shutting down: connecting to another one after this batch"
            );
            sender.send_modify(|notices| notices.lame_duck = true);
        }
        _ => {}
    }
}
