//! Promise: `run --listen` says over HTTP how a publisher is: what Prometheus reads, whether the drainer lives, and
//! whether losses are in sight. No client can hold it up, and none holds up the publisher.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use super::bench::{Bench, SESSIONS, wait_for};
use super::serving::Serving;

/// A sink that is not there, an end that takes its time, and a spill that is soon at its cap.
const STUCK: &str = "[spillring]\nspill_bytes_max = 1048576\nshutdown_max = \"1h\"\n";
const AWAY: [&str; 4] = ["--config", "config.toml", "--sink", "jsonl:later/out"];

#[test]
fn what_prometheus_reads() {
    let bench = Bench::new();
    let mut serving = Serving::start(&bench, &[]);
    serving.publish(&fs::read(SESSIONS).unwrap());
    let metrics = serving.delivered(2_000);
    for line in [
        "# TYPE aa_audit_accepted_total counter",
        "aa_audit_accepted_total 2000",
        "aa_audit_dropped_total{reason=\"queue_full\"} 0",
        "# TYPE aa_audit_state gauge",
        "aa_audit_state{state=\"live\"} 1",
        "aa_audit_state{state=\"spilling\"} 0",
        "# TYPE aa_audit_delivery_seconds histogram",
        "aa_audit_batch_entries_sum 2000",
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "no {line} in {metrics}"
        );
    }
    let head = serving.get("/metrics").head;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        for about in ["TYPE", "HELP"] {
            let said = format!("# {about} {family} ");
            assert!(line.is_empty() || metrics.contains(&said), "no {said}");
        }
    }
}

#[test]
fn a_publisher_at_work_is_healthy_and_ready() {
    let bench = Bench::new();
    let serving = Serving::start(&bench, &[]);
    for path in ["/healthz", "/readyz"] {
        let response = serving.get(path);
        assert_eq!((response.status, response.body.as_str()), (200, "ok\n"));
    }
    let missing = serving.get("/");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("/metrics"), "{missing:?}");
    let post = serving.ask("POST", "/metrics").unwrap();
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{post:?}");
    let head = serving.ask("HEAD", "/healthz").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_spill_at_its_cap_is_not_ready_and_no_reason_to_restart() {
    let bench = Bench::new();
    bench.write("config.toml", STUCK);
    bench.write("input", &fs::read_to_string(SESSIONS).unwrap().repeat(5));
    let input = ["--ring", "64", "--input", "input"];
    let serving = Serving::start(&bench, &[&AWAY[..], &input].concat());
    let unready = serving.when("/readyz", |response| response.status == 503);
    assert!(unready.body.contains("the spill is full"), "{unready:?}");
    assert_eq!(serving.get("/healthz").status, 200);
}

/// At the end of its input, before the drainer knows of it; and after a signal.
#[test]
fn a_publisher_that_stops_is_not_ready_and_serves_until_it_has_ended() {
    let bench = Bench::new();
    bench.write("config.toml", STUCK);
    let mut serving = Serving::start(&bench, &AWAY);
    let sessions = fs::read_to_string(SESSIONS).unwrap();
    let some: String = sessions.split_inclusive('\n').take(100).collect();
    serving.publish(some.as_bytes());
    bench.status_when(|status| status["stats"]["spilled"] == 100);
    assert_eq!(serving.get("/readyz").status, 200);
    drop(serving.stdin.take());
    let unready = serving.when("/readyz", |response| response.status == 503);
    assert_eq!(unready.body, "stopping\n");
    assert_eq!(serving.get("/healthz").status, 200);
    serving.signal(Signal::TERM);
    bench.status_when(|status| status["stats"]["state"] == "stopping");
    assert_eq!(serving.get("/readyz").body, "stopping\n");
    assert_eq!(serving.get("/healthz").status, 200);
    // The sink is there: it can end.
    fs::create_dir(bench.path("later")).unwrap();
    let ended = wait_for(|| serving.child.try_wait().unwrap()).expect("it ends");
    assert_eq!(ended.code(), Some(0));
    assert!(serving.ask("GET", "/healthz").is_err(), "it still serves");
}

#[test]
fn an_address_that_is_taken_is_reported_before_anything_is_made() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = bench.run(&["run", "--spill", "spill", "--listen", &address]);
    said.assert_code(2);
    for piece in [
        &format!("error: cannot listen on {address}: "),
        "in use",
        "`--listen`",
    ] {
        assert!(said.err.contains(piece), "no `{piece}` in {}", said.err);
    }
    assert!(!bench.path("spill").exists());
    let said = bench.run(&["run", "--spill", "spill", "--listen", "9464"]);
    assert!(said.assert_code(2).err.contains("--listen"), "{said:?}");
}

/// More clients than there are places, none of which ever finishes its request: each is dropped after a while, and the
/// one after them is served.
#[test]
fn clients_that_say_nothing_take_few_places_and_hold_nobody_up_for_long() {
    let bench = Bench::new();
    let serving = Serving::start(&bench, &[]);
    let mut silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(serving.address).unwrap())
        .collect();
    for stream in &mut silent {
        stream.write_all(b"GET /heal").unwrap();
    }
    let served = || {
        let served = served_by(serving.address.port());
        assert!(served <= 32, "{served}");
        served
    };
    assert!(wait_for(|| (served() == 32).then_some(())).is_some());
    assert_eq!(serving.get("/healthz").status, 200);
    served();
}

/// The established connections of this server that it has accepted: the others have no inode.
fn served_by(port: u16) -> usize {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let here = format!("0100007F:{port:04X}");
    let accepted = table.lines().filter(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[1] == here && columns[3] == "01" && columns[9] != "0"
    });
    accepted.count()
}
