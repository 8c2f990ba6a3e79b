//! A TCP proxy on 127.0.0.1 that cuts connections in the middle, while the server behind it lives on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Forwards to one port until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    /// How many more bytes go to the server before both sides of that connection are shut down, once.
    bytes_left: AtomicUsize,
    accepted: AtomicUsize,
    ended: AtomicBool,
}

impl Proxy {
    /// Forwards to the port, and cuts once, after as many bytes to the server: most likely in the middle of a frame.
    pub fn cutting_after(bytes: usize, upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            upstream,
            bytes_left: AtomicUsize::new(bytes),
            accepted: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.forward(&client);
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// How many connections have come.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, client: &TcpStream) {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)) else {
            return;
        };
        for (from, to, counted) in [(client, &server, true), (&server, client, false)] {
            let from = from.try_clone().expect("a socket can be cloned");
            let to = to.try_clone().expect("a socket can be cloned");
            let shared = Arc::clone(self);
            thread::spawn(move || {
                shared.copy(&from, &to, counted);
                for end in [from, to] {
                    end.shutdown(Shutdown::Both).ok();
                }
            });
        }
    }

    /// Copies until either end is gone, or the count is used up.
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, counted: bool) {
        let mut part = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut part) {
            let left = if counted {
                self.bytes_left.load(Ordering::SeqCst)
            } else {
                usize::MAX
            };
            if to.write_all(&part[..length.min(left)]).is_err() {
                return;
            }
            if length >= left {
                self.bytes_left.store(usize::MAX, Ordering::SeqCst);
                return;
            }
            if counted && left != usize::MAX {
                self.bytes_left.store(left - length, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}
