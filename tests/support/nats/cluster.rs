//! Three nats-servers that form a cluster: a stream with three replicas outlives any one of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use async_nats::jetstream;
use serde_json::Value;

use super::super::eventually::eventually_within;
use super::{NatsServer, PORTS_MAX, block_on, free_port};

/// How many nodes there are.
const NODES: usize = 3;
/// How long the nodes may take to find each other and their leaders: an election alone takes up to nine seconds.
const READY_MAX: Duration = Duration::from_secs(60);
/// The longest wait for an answer of a node.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Three nodes, each of which can be killed, stopped and brought back.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NatsServer>,
    /// The nodes' monitoring ports.
    monitors: Vec<u16>,
}

impl Cluster {
    /// Starts the nodes, and waits until they have a leader.
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// The same with more lines in the configuration of each node.
    pub fn start_with(extra: impl Fn(usize) -> String) -> Self {
        let mut said = String::new();
        for _ in 0..PORTS_MAX {
            match Self::try_start(&extra) {
                Ok(cluster) => {
                    cluster.until_ready();
                    return cluster;
                }
                Err(log) => said = log,
            }
        }
        panic!("no cluster came up with {PORTS_MAX} choices of ports: {said}");
    }

    fn try_start(extra: impl Fn(usize) -> String) -> Result<Self, String> {
        let ports: Vec<u16> = (0..2 * NODES).map(|_| free_port()).collect();
        let (monitors, routes) = ports.split_at(NODES);
        let all: Vec<String> = routes
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let all = all.join(", ");
        let nodes = monitors.iter().zip(routes).enumerate();
        let nodes = nodes.map(|(node, (monitor, route))| {
            let extra = format!(
                "http: \"127.0.0.1:{monitor}\"\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n{}",
                extra(node)
            );
            NatsServer::new(&NatsServer::current(), "", &extra).try_start()
        });
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            monitors: monitors.to_vec(),
        })
    }

    /// The ports for clients.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(NatsServer::port).collect()
    }

    /// The URL of the first node.
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a killed node on its old store and ports, and waits until it answers; it may still have to catch up.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Kills all nodes.
    pub fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(NatsServer::kill);
    }

    /// Starts all nodes again.
    pub fn restart_all(&mut self) {
        self.nodes.iter_mut().for_each(NatsServer::restart);
    }

    /// SIGSTOP: connections stay open, and nothing is answered.
    pub fn stop_signal(&self, node: usize) {
        self.nodes[node].stop_signal();
    }

    /// SIGCONT.
    pub fn cont_signal(&self, node: usize) {
        self.nodes[node].cont_signal();
    }

    /// Asks the stream's leader to let another one lead. Answers whether it said yes: there may be no leader.
    pub fn step_down(&self, stream: &str) -> bool {
        let said = self.ask(&format!("STREAM.LEADER.STEPDOWN.{stream}"));
        said.is_some_and(|said| said["success"] == Value::Bool(true))
    }

    /// The node that leads the stream.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let said = self.ask(&format!("STREAM.INFO.{stream}"))?;
        let leader = said["cluster"]["leader"].as_str()?;
        self.nodes.iter().position(|node| node.name == leader)
    }

    /// What `JetStream` answers, if it does.
    fn ask(&self, request: &str) -> Option<Value> {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        block_on(async {
            let mut context = jetstream::new(async_nats::connect(urls).await.ok()?);
            context.set_timeout(ANSWER_MAX);
            context.request(request.to_owned(), &()).await.ok()
        })
    }

    /// Waits until each node is well, has caught up with its streams, and knows who leads.
    pub fn until_ready(&self) {
        for (node, monitor) in self.nodes.iter().zip(&self.monitors) {
            eventually_within(READY_MAX, &format!("{} is ready", node.url()), || {
                is_ready(*monitor).then_some(())
            });
        }
    }
}

fn is_ready(monitor: u16) -> bool {
    let Ok((200, _)) = get(monitor, "/healthz") else {
        return false;
    };
    let told = get(monitor, "/jsz").ok();
    let told = told.and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok());
    told.is_some_and(|told| told["meta_cluster"]["leader"].is_string())
}

/// The status and the body that HTTP answers.
fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status = status.ok_or_else(|| io::Error::other("this is no HTTP"))?;
    Ok((status, body.to_owned()))
}
