//! Promise: a stream of NATS gets what a file would, and the demo leaves no stream behind.

use std::fs;

use super::bench::{Bench, SESSIONS, Said};
use crate::support::nats::{NatsServer, block_on, client, read_stream};

/// The payloads of a stream, one a line.
fn delivered(server: &NatsServer, stream: &str) -> String {
    let messages = read_stream(&server.url(), stream);
    let payloads = messages.iter().map(|message| message.payload.to_vec());
    let lines = payloads.map(|payload| String::from_utf8(payload).unwrap() + "\n");
    lines.collect()
}

#[test]
fn entries_go_to_the_stream_as_they_are() {
    let (bench, server) = (Bench::new(), NatsServer::start());
    let url = server.url();
    let arguments = [
        "run", "--input", SESSIONS, "--spill", "spill", "--sink", &url,
    ];
    bench
        .run(&[&arguments[..], &["--stream", "CLI"]].concat())
        .assert_code(0);
    assert!(delivered(&server, "CLI") == fs::read_to_string(SESSIONS).unwrap());
}

#[test]
fn the_environment_goes_behind_the_file_and_the_file_behind_the_flags() {
    let (bench, server) = (
        Bench::new(),
        NatsServer::start_with("authorization { token: right }"),
    );
    let run = |arguments: &[&str], token: &str, config: &str| {
        bench.write(
            "config.toml",
            &format!("[spillring]\nspill_dir = \"spill\"\nshutdown_max = \"1s\"\n{config}"),
        );
        let mut command = bench.command(&["run", "--config", "config.toml", "--input", SESSIONS]);
        command
            .args(arguments)
            .env("NATS_URL", server.url())
            .env("NATS_TOKEN", token);
        Said::of(command.spawn().unwrap())
    };
    run(&["--sink", "nats"], "right", "").assert_code(0);
    run(
        &["--sink", "nats"],
        "wrong",
        "[spillring.nats]\ntoken = \"right\"\n",
    )
    .assert_code(0);
    let elsewhere = "sink = \"nats\"\n[spillring.nats]\nurls = [\"nats://127.0.0.1:1\"]\n";
    run(&[], "right", elsewhere).assert_code(4);
    run(&["--sink", &server.url()], "right", elsewhere).assert_code(0);
    let entries = fs::read_to_string(SESSIONS).unwrap();
    let client_url = server.url_as("right");
    let read = read_stream(&client_url, "AUDIT").len();
    assert_eq!(read, 4 * entries.lines().count());
}

#[test]
fn the_demo_holds_and_leaves_no_stream() {
    let (bench, server) = (Bench::new(), NatsServer::start());
    let url = server.url();
    let said = bench.run(&[
        "demo",
        "--nats",
        &url,
        "--entries",
        "20000",
        "--outage",
        "1500ms",
    ]);
    let out = &said.assert_code(0).out;
    for piece in [
        "stream SPILLRING_DEMO of nats://",
        "20,000 read back; 20 chains",
        "All holds",
    ] {
        assert!(out.contains(piece), "no `{piece}` in {out}");
    }
    let left = block_on(async {
        let context = async_nats::jetstream::new(client(&url).await);
        context.get_stream("SPILLRING_DEMO").await.is_ok()
    });
    assert!(!left);
}
