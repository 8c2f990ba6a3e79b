//! A TCP proxy on 127.0.0.1 between publishers and nats-servers, which does on purpose what networks do by chance.
//!
//! It reads the protocol frame by frame, so it knows when a transaction is under way: from its last message, which has
//! `Nats-Batch-Commit`, to the answer to that. A message with a `Nats-Msg-Id` is a transaction by itself. At such a
//! moment a test can make it hold the frame, until something else has happened, and then pass it on,
//! swallow it, or cut the connection, in the middle of a frame too.

mod frame;
mod link;
mod moments;
mod reads;
mod state;
mod tamper;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::link::Link;
use self::state::State;
pub use self::tamper::Tamper;

/// How long the answer to something held is waited for once it has passed.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Forwards to one port or several until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    ports: Vec<u16>,
    shared: Arc<Shared>,
}

/// What is held, while a transaction is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A whole transaction before the server, which has seen nothing of it.
    Batch,
    /// The last message of a transaction before the server, which has all others; there may be none.
    Commit,
    /// The acknowledgement before the client, when the transaction is stored.
    Acknowledgement,
}

/// What becomes of something held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// It never arrives, and the connection lives on.
    Swallow,
    /// The connection is cut in the middle of the frame.
    Half,
    /// The connection is cut before it.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// What is wrong with all connections for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes in this direction.
    Stalled(Direction),
    /// Acknowledgements of transactions are dropped.
    Swallowing,
    /// No new connections are taken.
    Refusing,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Proxy {
    /// Forwards from a port of its own to each of these.
    pub fn new(upstreams: &[u16]) -> Self {
        Self::cutting_after(usize::MAX, upstreams)
    }

    /// The same, and cuts once, after as many bytes to the servers: most likely in the middle of a frame.
    pub fn cutting_after(bytes: usize, upstreams: &[u16]) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(bytes)),
            changed: Condvar::new(),
        });
        let ports = upstreams.iter().map(|port| shared.listen(*port)).collect();
        Self { ports, shared }
    }

    pub fn url(&self) -> String {
        self.urls().swap_remove(0)
    }

    /// One URL for each server.
    pub fn urls(&self) -> Vec<String> {
        let url = |port| format!("nats://127.0.0.1:{port}");
        self.ports.iter().map(url).collect()
    }

    /// How many connections have come.
    pub fn accepted(&self) -> usize {
        self.shared.state.lock().accepted
    }

    /// Will hold the next thing of this kind; [`catch`](Self::catch) waits for it.
    pub fn arm(&self, what: Hold) {
        self.set(|state| state.armed = Some(what));
    }

    /// Holds the next thing of this kind, and says whether one came within the limit.
    pub fn catch(&self, what: Hold, limit: Duration) -> bool {
        let mut state = self.shared.state.lock();
        state.armed = Some(what);
        let until = Instant::now() + limit;
        while state.held.is_none() {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                break;
            }
        }
        state.armed = None;
        state.held.is_some()
    }

    /// Whether something is held, and its client has not yet tried another connection: its transaction is not
    /// acknowledged, and nobody can have learned what became of it.
    pub fn is_unacknowledged(&self) -> bool {
        self.shared.state.lock().is_unacknowledged()
    }

    /// Waits until the client of what is held has tried another connection; says whether that was within the limit.
    pub fn until_given_up(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.shared.state.lock();
        while state.is_unacknowledged() {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                return false;
            }
        }
        true
    }

    /// Ends the holding, and waits until it has ended.
    pub fn release(&self, verdict: Verdict) {
        let mut state = self.shared.state.lock();
        state.verdict = Some(verdict);
        state.answer = None;
        self.shared.changed.notify_all();
        while state.held.is_some() {
            self.shared.changed.wait(&mut state);
        }
        state.verdict = None;
    }

    /// What the server said to something that was held before it, once that was released.
    pub fn answer(&self) -> Option<String> {
        let mut state = self.shared.state.lock();
        let until = Instant::now() + ANSWER_MAX;
        while state.answer.is_none() {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                break;
            }
        }
        state.answer.clone()
    }

    /// Waits until so many more transactions are acknowledged; says whether that was within the limit.
    pub fn until_acknowledged(&self, more: u64, limit: Duration) -> bool {
        let mut state = self.shared.state.lock();
        let all = state.acknowledged + more;
        let until = Instant::now() + limit;
        while state.acknowledged < all {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                return false;
            }
        }
        true
    }

    /// Lets the last message of the transaction that is held arrive in the middle of a later one, before that one's
    /// message of the same number; says whether one came by within the limit.
    pub fn intrude(&self, limit: Duration) -> bool {
        let mut state = self.shared.state.lock();
        state.intruding = true;
        let until = Instant::now() + limit;
        while state.intruding {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                return false;
            }
        }
        true
    }

    /// Begins a fault in place of the one before, or ends that.
    pub fn suffer(&self, fault: Option<Fault>) {
        self.set(|state| state.fault = fault);
    }

    /// Makes the publishers behind it look like ones that lack a safeguard.
    pub fn tamper(&self, tamper: Option<Tamper>) {
        self.set(|state| state.tamper = tamper);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|state| {
            state.ended = true;
            state.links.values().for_each(|link| link.cut());
        });
        for port in &self.ports {
            TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).ok();
        }
    }
}

impl Shared {
    /// Answers the port on which connections for that other one are taken.
    fn listen(self: &Arc<Self>, upstream: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::clone(self);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if shared.state.lock().ended {
                    return;
                }
                shared.open(client, upstream);
            }
        });
        port
    }

    fn open(self: &Arc<Self>, client: TcpStream, upstream: u16) {
        let (number, refusing) = {
            let mut state = self.state.lock();
            state.accepted += 1;
            self.changed.notify_all();
            (state.accepted, state.fault == Some(Fault::Refusing))
        };
        if refusing {
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
            return;
        };
        for end in [&client, &server] {
            end.set_nodelay(true).expect("a socket can be set");
        }
        let link = Arc::new(Link {
            number,
            client,
            server,
        });
        self.state.lock().links.insert(number, Arc::clone(&link));
        for pump in [Self::to_server, Self::to_client] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            thread::spawn(move || {
                pump(&shared, &link).ok();
                shared.end(&link);
            });
        }
    }

    fn end(&self, link: &Link) {
        link.cut();
        let mut state = self.state.lock();
        state.links.remove(&link.number);
        state.unacknowledged.remove(&link.number);
        self.changed.notify_all();
    }
}
