//! Whether a server that hangs reaches the publisher: 100,000 entries a second to a real one that is stopped in
//! between, and the same without the stop.

use std::thread;
use std::time::{Duration, Instant};

use spillring::{JetStreamSink, NatsConfig};

use crate::figure::{Part, Row};
use crate::lane::Role;
use crate::machine::{Machine, Noise};
use crate::ours::Publish;
use crate::rounds::Context;
use crate::support::start;
use crate::times::timed;
use test_support::nats::NatsServer;

/// Seconds before, during and after the stop.
const PHASES: [u64; 3] = [2, 10, 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Never,
    InTheMiddle,
}

pub(crate) fn stall(context: &Context, machine: &Machine) {
    let mut part = Part::new("stall", machine);
    let Ok(server) = std::panic::catch_unwind(NatsServer::start) else {
        println!("skipped: stall (no nats-server)");
        return;
    };
    drop(server);
    let (calm, calm_account) = run(context, "server up", Stop::Never);
    let (stopped, stopped_account) = run(context, "10 s SIGSTOP", Stop::InTheMiddle);
    let ratio = [&stopped, &calm].map(|row| row.service.value_at_quantile(0.999) as f64);
    part.figure(
        "100 entries every millisecond, 2 + 10 + 3 s",
        "sigstop",
        &[calm, stopped],
    );
    println!("\nserver up: {calm_account}\n10 s SIGSTOP: {stopped_account}");
    println!("p99.9 with the stop / without: {:.2}", ratio[0] / ratio[1]);
    part.finish();
}

/// One run, and what became of its entries.
fn run(context: &Context, name: &str, stop: Stop) -> (Row, String) {
    let phases =
        PHASES.map(|seconds| Duration::from_millis(seconds * context.args.choose(1_000, 50)));
    let mut server = NatsServer::start();
    let mut config = NatsConfig::default();
    config.urls = vec![server.url().as_str().into()];
    let sink = JetStreamSink::new(config).expect("sound settings");
    let (drainer, _dir) = start(sink);
    let mut publisher = Publish(drainer.publisher());
    let role = if stop == Stop::Never {
        Role::Ours
    } else {
        Role::Other
    };
    let mut row = Row::new(name, role);
    let mut offered = 0;
    for (phase, span) in phases.into_iter().enumerate() {
        if stop == Stop::InTheMiddle && phase == 1 {
            server.stop_signal();
        }
        let noise = Noise::now();
        offered += offer(context, &mut publisher, &mut row, span);
        row.add_noise(noise.since());
        if stop == Stop::InTheMiddle && phase == 1 {
            server.cont_signal();
        }
    }
    let ended = Instant::now();
    let stats = drainer
        .shutdown(Duration::from_secs(60))
        .wait(Duration::from_secs(70))
        .expect("an account");
    let account = format!(
        "offered {offered}, lost {}, delivered {} {:.1} s after the last; spilled on the way {}",
        stats.lost.total(),
        stats.delivered,
        ended.elapsed().as_secs_f64(),
        stats.appended
    );
    server.kill();
    (row, account)
}

/// A hundred entries every millisecond. It sleeps in between: a publisher that spun would take a core from the server.
fn offer(context: &Context, publisher: &mut Publish, row: &mut Row, span: Duration) -> usize {
    let mut offered = 0;
    let mut due = Instant::now();
    let end = due + span;
    while due < end {
        let block = context.entries_from(offered, 100);
        offered += block.len();
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_millis(1);
        for entry in block {
            let (call, _) = timed(&context.clock, publisher, entry, 0, 0);
            row.service.saturating_record(call.service(&context.clock));
        }
    }
    offered
}
