//! Promise: a stream of NATS gets what a file would, and the demo leaves no stream behind.

use std::fs;

use super::bench::{Bench, SESSIONS, Said};
use test_support::nats::{Message, NatsServer, block_on, client, read_stream};

/// The entries of a stream.
fn entries(url: &str, stream: &str) -> Vec<Message> {
    let mut messages = read_stream(url, stream);
    messages.retain(|message| !message.subject.starts_with("assembly.cursor."));
    messages
}

/// The payloads of a stream, one a line.
fn delivered(server: &NatsServer, stream: &str) -> String {
    let entries = entries(&server.url(), stream);
    let payloads = entries.iter().map(|message| message.payload.to_vec());
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
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let (bench, server) = (
        Bench::new(),
        NatsServer::start_with("authorization { token: right }"),
    );
    let run = |arguments: &[&str], environment: &[(&str, &str)], nats: &str| {
        let own = "[spillring]\nspill_dir = \"spill\"\nshutdown_max = \"5s\"\nsink = \"nats\"\n";
        bench.write("config.toml", &format!("{own}[spillring.nats]\n{nats}"));
        let mut command = bench.command(&["run", "--config", "config.toml", "--input", SESSIONS]);
        command.args(arguments).envs(environment.iter().copied());
        Said::of(command.spawn().unwrap())
    };
    let (url, nowhere) = (server.url(), "nats://127.0.0.1:1");
    let here = format!("urls = [\"{url}\"]\n");
    let elsewhere = format!("urls = [\"{nowhere}\"]\n");
    let right = "token = \"right\"\n";
    run(&[], &[], &format!("{here}{right}")).assert_code(0);
    run(
        &[],
        &[("NATS_TOKEN", "right")],
        &format!("{here}token = \"wrong\"\n"),
    )
    .assert_code(0);
    run(&[], &[("NATS_URL", nowhere)], &format!("{here}{right}")).assert_code(4);
    run(&[], &[("NATS_URL", &url)], &format!("{elsewhere}{right}")).assert_code(0);
    let flag = ["--sink", &url];
    run(
        &flag,
        &[("NATS_URL", nowhere)],
        &format!("{elsewhere}{right}"),
    )
    .assert_code(0);
    let read = entries(&server.url_as("right"), "AUDIT").len();
    assert_eq!(read, 5 * 2_000);
}

#[test]
fn the_environment_overrides_servers_in_the_files_sink() {
    let (bench, server) = (Bench::new(), NatsServer::start());
    let url = server.url();
    let run = |sink: &str, nats: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let own = "[spillring]\nspill_dir = \"spill\"\nshutdown_max = \"5s\"\n";
        bench.write(
            "config.toml",
            &format!("{own}sink = \"{sink}\"\n[spillring.nats]\n{nats}"),
        );
        let mut command = bench.command(&["run", "--config", "config.toml", "--input", SESSIONS]);
        command.args(arguments).envs(environment.iter().copied());
        Said::of(command.spawn().unwrap())
    };
    let nowhere = "nats://127.0.0.1:1";
    let elsewhere = format!("urls = [\"{nowhere}\"]\n");
    let here = format!("urls = [\"{url}\"]\n");
    run(nowhere, "", &[], &[("NATS_URL", &url)]).assert_code(0);
    run(&url, &elsewhere, &[], &[]).assert_code(0);
    run("jsonl:out", &here, &["--sink", "nats"], &[]).assert_code(0);
    let said = run(&url, "", &["--sink", "nats"], &[]);
    let told = format!("entries go to the stream AUDIT of {url}\n");
    assert_eq!(said.assert_code(0).err, told);
    assert_eq!(entries(&url, "AUDIT").len(), 4 * 2_000);
}

#[test]
fn several_servers_with_commas_between_them_are_an_address_everywhere() {
    let (bench, server) = (Bench::new(), NatsServer::start());
    let several = format!("nats://127.0.0.1:1,127.0.0.1:{},", server.port());
    let run = |own: &str, nats: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let always = "[spillring]\nspill_dir = \"spill\"\nshutdown_max = \"5s\"\n";
        bench.write(
            "config.toml",
            &format!("{always}{own}\n[spillring.nats]\n{nats}"),
        );
        let mut command = bench.command(&["run", "--config", "config.toml", "--input", SESSIONS]);
        command.args(arguments).envs(environment.iter().copied());
        Said::of(command.spawn().unwrap()).assert_code(0);
    };
    run("", "", &["--sink", &several], &[]);
    bench.run(&["verify", &several]).assert_code(0);
    run(&format!("sink = \"{several}\""), "", &[], &[]);
    run(
        "sink = \"nats\"",
        &format!("urls = [\"{several}\"]"),
        &[],
        &[],
    );
    run("sink = \"nats\"", "", &[], &[("NATS_URL", &several)]);
    assert_eq!(entries(&server.url(), "AUDIT").len(), 4 * 2_000);
}

#[test]
fn the_file_overrides_a_context_named_by_it_or_by_the_environment() {
    let bench = Bench::new();
    let server = NatsServer::start_with("authorization { user: anna, password: right }");
    let url = server.url();
    let nats = bench.path("home/nats/context");
    fs::create_dir_all(&nats).unwrap();
    let context =
        |password: &str| format!(r#"{{"url": "{url}", "user": "anna", "password": "{password}"}}"#);
    fs::write(nats.join("prod.json"), context("right")).unwrap();
    fs::write(nats.join("old.json"), context("hidden")).unwrap();
    let run = |nats: &str, environment: &[(&str, &str)]| {
        let own = "[spillring]\nspill_dir = \"spill\"\nshutdown_max = \"5s\"\nsink = \"nats\"\n";
        bench.write("config.toml", &format!("{own}[spillring.nats]\n{nats}"));
        let mut command = bench.command(&["run", "--config", "config.toml", "--input", SESSIONS]);
        command.env("XDG_CONFIG_HOME", bench.path("home"));
        command.envs(environment.iter().copied());
        Said::of(command.spawn().unwrap())
    };
    let said = run("context = \"prod\"\n", &[]);
    let told = format!("entries go to the stream AUDIT of {url}\n");
    let made = said.assert_code(0).err.strip_prefix(&told).unwrap();
    assert!(
        made.contains("created the stream with these settings")
            && made.contains("stream_replicas=1"),
        "{made}"
    );
    run("context = \"old\"\n", &[("NATS_CONTEXT", "prod")]).assert_code(0);
    run(
        "context = \"old\"\nuser = \"anna\"\npassword = \"right\"\n",
        &[],
    )
    .assert_code(0);
    run("context = \"old\"\n", &[("NATS_PASSWORD", "right")]).assert_code(0);

    let kept_out = run("context = \"old\"\n", &[]);
    assert!(
        !kept_out.assert_code(4).err.contains("hidden"),
        "{}",
        kept_out.err
    );
    let none = run("context = \"none\"\n", &[]);
    let told = &none.assert_code(2).err;
    assert!(
        told.contains("`context` names") && told.contains("none.json"),
        "{told}"
    );
    let read = read_stream(&server.url_as("anna:right"), "AUDIT");
    let entries = read
        .iter()
        .filter(|it| it.subject.starts_with("assembly.audit."));
    assert_eq!(entries.count(), 4 * 2_000);
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
        "1.5",
    ]);
    let out = &said.assert_code(0).out;
    for piece in [
        "stream SPILLRING_DEMO of nats://",
        "20,000 read back; 20 chains",
        "All checks hold",
    ] {
        assert!(out.contains(piece), "no `{piece}` in {out}");
    }
    let left = block_on(async {
        let context = async_nats::jetstream::new(client(&url).await);
        context.get_stream("SPILLRING_DEMO").await.is_ok()
    });
    assert!(!left);
}
