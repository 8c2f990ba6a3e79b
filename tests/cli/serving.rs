//! A publisher at work that serves over HTTP, and a client that shares nothing with the server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use test_support::child::Process;

use super::bench::{Bench, wait_for};

/// How long a response may take.
const RESPONSE_MAX: Duration = Duration::from_secs(30);

/// Ends with the test.
pub(super) struct Serving {
    pub(super) child: Process,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) address: SocketAddr,
    /// Held open for the report at the end.
    _stdout: Option<ChildStdout>,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Serving {
    /// `spillring run --listen` on a free port, with these arguments.
    pub(super) fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let listen = ["run", "--spill", "spill", "--listen", "127.0.0.1:0"];
        Self::spawn(&mut bench.command(&[&listen, arguments].concat()))
    }

    /// The same for a command that is made already.
    pub(super) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = address_in(&mut stderr).expect("it says where it serves");
        // Whatever else it says is read, so that it never waits for us.
        thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        Self::of(child, address)
    }

    /// One that was started, and has said where it serves.
    pub(super) fn of(child: impl Into<Process>, address: SocketAddr) -> Self {
        let mut child: Process = child.into();
        Self {
            stdin: child.stdin.take(),
            address,
            _stdout: child.stdout.take(),
            child,
        }
    }

    pub(super) fn publish(&mut self, lines: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(lines).unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    pub(super) fn get(&self, path: &str) -> Response {
        self.ask("GET", path).unwrap()
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> io::Result<Response> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(RESPONSE_MAX))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Response {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// Asks until this holds of the response.
    #[track_caller]
    pub(super) fn when(&self, path: &str, holds: impl Fn(&Response) -> bool) -> Response {
        let mut last = None;
        wait_for(|| {
            let response = self.get(path);
            let held = holds(&response);
            last = Some(format!("{response:?}"));
            held.then_some(response)
        })
        .unwrap_or_else(|| panic!("{path} never became so; it was {last:?}"))
    }

    /// The metrics, once so many entries are delivered.
    pub(super) fn delivered(&self, entries: u64) -> String {
        let line = format!("\naa_audit_delivered_total {entries}\n");
        self.when("/metrics", |metrics| metrics.body.contains(&line))
            .body
    }
}

/// Reads on to the line that says where it serves.
pub(super) fn address_in(stderr: &mut impl BufRead) -> Option<SocketAddr> {
    stderr.lines().map_while(Result::ok).find_map(|line| {
        let (_, address) = line.split_once("/readyz on http://")?;
        address.parse().ok()
    })
}
