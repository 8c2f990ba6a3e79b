//! Bad usage, and what cannot be read: exit code 2, and one sentence that says how to mend it.

use std::fs;

use super::bench::{Bench, Said};
use super::said::verify;
use super::trail::{Publisher, entries, stream_of, stream_trail};
use test_support::nats::NatsServer;

#[track_caller]
fn complains(bench: &Bench, arguments: &[&str], pieces: &[&str]) {
    let said = bench.run(&[&["verify"], arguments].concat());
    said.assert_code(2);
    assert_eq!(said.out, "");
    for piece in pieces {
        assert!(said.err.contains(piece), "no `{piece}` in {}", said.err);
    }
}

#[test]
fn what_is_no_trail_is_reported() {
    let bench = Bench::new();
    bench.write("plain", "{}\n");
    complains(
        &bench,
        &["absent"],
        &["error: absent cannot be read", "give a file"],
    );
    complains(&bench, &["plain"], &["error: the ledger", "`--ledger`"]);
    bench.write("plain.ledger", "no ledger\n");
    complains(&bench, &["plain"], &["it is not a ledger of spillring"]);
    complains(
        &bench,
        &["plain", "--stream", "AUDIT"],
        &["`--stream` names a stream of NATS"],
    );
    complains(
        &bench,
        &["nats://127.0.0.1", "--ledger", "plain.ledger"],
        &["`--ledger` belongs to a file"],
    );
    complains(&bench, &["kafka://me:secret@host"], &["cannot be `kafka`"]);
}

#[test]
fn a_stream_that_cannot_be_read_is_reported_without_its_password() {
    let (bench, server) = (Bench::new(), NatsServer::start());
    complains(
        &bench,
        &["nats://127.0.0.1:1"],
        &["cannot be read", "give the URL of a server"],
    );
    complains(
        &bench,
        &[&server.url(), "--stream", "NONE"],
        &["the stream NONE cannot be read"],
    );
    let url = server
        .url_as("me:secret")
        .replace(&server.port().to_string(), "1");
    let said = bench.run(&["verify", &url]);
    assert!(!said.assert_code(2).err.contains("secret"), "{}", said.err);
}

#[test]
fn servers_and_credentials_are_those_of_run() {
    let server = NatsServer::start_with("authorization { token: right }");
    let publisher = Publisher::new();
    let mut nats = spillring::NatsConfig::default();
    nats.urls = vec![server.url_as("right").as_str().into()];
    let mut run = publisher.start(spillring::JetStreamSink::new(nats).unwrap());
    run.publish(entries(0..10));
    run.settle();
    run.end();

    let (bench, url) = (Bench::new(), server.url());
    verify(&server.url_as("right"), &[]).assert_holds();
    let with = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = bench.command(&[&["verify"], arguments].concat());
        Said::of(command.envs(environment.iter().copied()).spawn().unwrap())
    };
    with(&[("NATS_TOKEN", "right")], &[&url]).assert_code(0);
    with(&[("NATS_TOKEN", "right"), ("NATS_URL", &url)], &["nats"]).assert_code(0);
    with(&[("NATS_TOKEN", "wrong")], &[&url]).assert_code(2);
    let config = format!("[spillring.nats]\nurls = [\"{url}\"]\ntoken = \"right\"\n");
    fs::write(bench.path("config.toml"), config).unwrap();
    with(&[], &["nats", "--config", "config.toml"]).assert_code(0);
}

#[test]
fn another_stream_and_other_prefixes_are_looked_at() {
    let server = NatsServer::start();
    let publisher = Publisher::new();
    let mut nats = spillring::NatsConfig::default();
    nats.urls = vec![server.url().as_str().into()];
    nats.stream = "OTHER".to_owned();
    nats.subject_prefix = "tenants.audit".to_owned();
    nats.cursor_prefix = "tenants.cursor".to_owned();
    let mut run = publisher.start(spillring::JetStreamSink::new(nats).unwrap());
    run.publish(entries(0..10));
    run.settle();
    run.end();
    let bench = Bench::new();
    let prefixes = "subject_prefix = \"tenants.audit\"\ncursor_prefix = \"tenants.cursor\"\n";
    bench.write("config.toml", &format!("[spillring.nats]\n{prefixes}"));
    let arguments = [
        "verify",
        &server.url(),
        "--stream",
        "OTHER",
        "--config",
        "config.toml",
    ];
    let said = bench.run(&arguments);
    assert!(
        said.assert_code(0).out.contains("10 entries, complete"),
        "{}",
        said.out
    );
}

#[test]
fn the_text_report_names_each_break_and_its_place() {
    let mut trail = stream_trail();
    let at = super::trail::places(&trail);
    trail.remove(at[40]);
    let server = stream_of(&trail);
    let said = Bench::new().run(&["verify", &server.url()]);
    said.assert_code(1);
    let line = format!(
        "    NOT COMPLETE, missing: number 11, and nothing announces it as lost (message {})\n",
        at[40] + 1
    );
    assert!(said.out.contains(&line), "no `{line}` in {}", said.out);
    assert!(
        said.out
            .ends_with("\ncomplete: no, 1 break\nintact: yes\nauthentic: no, 1 break\n"),
        "{}",
        said.out
    );
}
