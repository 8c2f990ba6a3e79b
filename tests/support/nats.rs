//! A real nats-server of the test's own, on 127.0.0.1, with a store of its own. It ends with the test.

mod binary;
mod cluster;
mod reader;

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use tempfile::TempDir;

use super::child::Process;
use super::eventually::eventually;
pub use binary::Release;
pub use cluster::Cluster;
pub use reader::{Message, block_on, client, options, read_stream, read_stream_as, visit_stream};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// How many ports are tried.
const PORTS_MAX: usize = 20;
/// Below the ports that systems give to outgoing connections: a server that is down for a while finds its own again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// What switches `JetStream` off.
const NO_JETSTREAM: &str = "enabled: false";

/// A running, stopped or killed nats-server, with `JetStream` on unless said otherwise.
#[derive(Debug)]
pub struct NatsServer {
    /// Dropped before its directory.
    process: Option<Process>,
    dir: TempDir,
    name: String,
    port: u16,
    /// More of its configuration, inside the block of `JetStream` and outside.
    jetstream: &'static str,
    extra: String,
    binary: PathBuf,
}

impl NatsServer {
    /// A server without credentials.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A server whose configuration has these lines as well.
    pub fn start_with(extra: &str) -> Self {
        Self::start_binary(&Self::current(), extra)
    }

    fn current() -> PathBuf {
        binary::find(Release::Current).expect("it fails if there is none")
    }

    /// A server that syncs each message before it acknowledges it.
    pub fn start_synced() -> Self {
        Self::start_with_jetstream("sync_interval: always")
    }

    /// A server with these lines in the block of `JetStream`.
    pub fn start_with_jetstream(lines: &'static str) -> Self {
        Self::start_until_up(|| Self::new(&Self::current(), lines, ""))
    }

    /// A server that is only core NATS.
    pub fn start_without_jetstream() -> Self {
        Self::start_until_up(|| Self::new(&Self::current(), NO_JETSTREAM, ""))
    }

    /// A server of another release; none where it cannot be had.
    pub fn start_release(release: Release) -> Option<Self> {
        Some(Self::start_binary(&binary::find(release)?, ""))
    }

    fn start_binary(binary: &Path, extra: &str) -> Self {
        Self::start_until_up(|| Self::new(binary, "", extra))
    }

    fn start_until_up(new: impl Fn() -> Self) -> Self {
        let mut said = String::new();
        for _ in 0..PORTS_MAX {
            match new().try_start() {
                Ok(server) => return server,
                Err(log) => said = log,
            }
        }
        panic!("the nats-server did not start on {PORTS_MAX} ports: {said}");
    }

    /// One that does not run yet, on some free port.
    fn new(binary: &Path, jetstream: &'static str, extra: &str) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        Self {
            dir: TempDir::new().expect("a temporary directory can be made"),
            name: format!("test-{}-{number}", std::process::id()),
            port: free_port(),
            jetstream,
            extra: extra.to_owned(),
            binary: binary.to_owned(),
            process: None,
        }
    }

    /// One attempt; an error is the log of a server that ended, most likely because another process was quicker to
    /// take a port.
    fn try_start(mut self) -> Result<Self, String> {
        if self.launch() {
            Ok(self)
        } else {
            Err(self.log())
        }
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The URL with something before the `@`, such as `user:password`.
    pub fn url_as(&self, who: &str) -> String {
        format!("nats://{who}@127.0.0.1:{}", self.port)
    }

    /// The same host under the name that certificates bear.
    pub fn url_by_name(&self) -> String {
        format!("nats://localhost:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server can be killed");
            process.wait().expect("the server can be waited for");
        }
    }

    /// SIGTERM, and waits until the process has written what it has in memory.
    pub fn end(&mut self) {
        self.signal(Signal::TERM);
        let mut process = self.process.take().expect("the server runs");
        process.wait().expect("the server can be waited for");
    }

    /// Kills it if it runs, and starts it on the same port and store.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "no restart: {}", self.log());
    }

    /// The same with other additional lines in its configuration.
    pub fn restart_with(&mut self, extra: &str) {
        extra.clone_into(&mut self.extra);
        self.restart();
    }

    /// The same without a restart: it reads its configuration again, and keeps its connections.
    pub fn reload_with(&mut self, extra: &str) {
        const RELOADED: &str = "Reloaded server configuration";
        let times = |server: &Self| server.log().matches(RELOADED).count();
        let before = times(self);
        extra.clone_into(&mut self.extra);
        self.write_config();
        self.signal(Signal::HUP);
        eventually("it is reloaded", || (times(self) > before).then_some(()));
    }

    /// SIGSTOP, and waits until every thread has stopped: connections stay open, and nothing is answered.
    pub fn stop_signal(&self) {
        self.signal(Signal::STOP);
        let process = self.process.as_ref().expect("the server runs");
        let stopped = waitpid(Some(Pid::from_child(process)), WaitOptions::UNTRACED);
        let (_, status) = stopped
            .expect("it can be waited for")
            .expect("it has changed");
        assert!(status.stopped(), "{status:?}");
    }

    /// SIGCONT.
    pub fn cont_signal(&self) {
        self.signal(Signal::CONT);
    }

    /// Any other signal, such as SIGUSR2 for lame duck mode.
    pub fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        process.signal(signal);
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A copy of what a server that is down has stored.
    pub fn save_store(&self) -> TempDir {
        let copy = TempDir::new().expect("a temporary directory can be made");
        copy_folder(&self.path("store"), &copy.path().join("store"));
        copy
    }

    /// Puts a copy in the place of what a server that is down has stored.
    pub fn restore_store(&self, copy: &TempDir) {
        fs::remove_dir_all(self.path("store")).expect("the store can be removed");
        copy_folder(&copy.path().join("store"), &self.path("store"));
    }

    /// A file or folder of the server, such as `store`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_config(&self) {
        let config = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?}\n{} }}\n{}\n",
            self.name,
            self.port,
            self.path("store"),
            self.jetstream,
            self.extra
        );
        fs::write(self.path("config"), config).expect("the configuration can be written");
    }

    /// Whether it came up; if not, its process is gone.
    fn launch(&mut self) -> bool {
        self.write_config();
        let log = File::create(self.path("log")).expect("the log can be made");
        let process = Command::new(&self.binary)
            .arg("--config")
            .arg(self.path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the nats-server can be started");
        self.process = Some(process.into());
        self.came_up()
    }

    fn came_up(&mut self) -> bool {
        let until = Instant::now() + START_MAX;
        while Instant::now() < until {
            let process = self.process.as_mut().expect("it was just started");
            if process.try_wait().expect("it can be asked").is_some() {
                self.process = None;
                return false;
            }
            if self.greets() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "the nats-server is not ready after {START_MAX:?}: {}",
            self.log()
        );
    }

    /// Whether the port is answered by this very server, with `JetStream` on.
    fn greets(&self) -> bool {
        if self.extra.contains("handshake_first: true") {
            // It greets nobody before TLS; that it listens is in its log.
            return self.log().contains("Server is ready");
        }
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        let limit = Some(Duration::from_secs(1));
        stream.set_read_timeout(limit).expect("a limit can be set");
        let mut greeting = Vec::new();
        let mut part = [0; 1024];
        while !greeting.ends_with(b"\r\n") {
            match stream.read(&mut part) {
                Ok(length @ 1..) => greeting.extend_from_slice(&part[..length]),
                _ => return false,
            }
        }
        let greeting = String::from_utf8_lossy(&greeting).into_owned();
        greeting.contains(&format!("\"server_name\":\"{}\"", self.name))
            && (self.jetstream == NO_JETSTREAM || greeting.contains("\"jetstream\":true"))
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be read") {
        let entry = entry.expect("a folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    (0..1_000)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of a thousand ports is free")
}
