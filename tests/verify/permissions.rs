//! An auditor and a reader with the permissions that docs/nats.md gives them, and nothing else: they can do their work,
//! and change nothing.

use std::fs;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::bench::{Bench, SESSIONS};
use super::said::verify;
use test_support::eventually::eventually;
use test_support::nats::{NatsServer, block_on, read_stream};

/// The longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);
/// What `SESSIONS` has.
const ENTRIES: usize = 2_000;

/// The subjects on which a user may publish and subscribe, as the row of the table says that begins so.
fn documented(who: &str) -> [Vec<String>; 2] {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nats.md");
    let text = fs::read_to_string(path).unwrap();
    let start = format!("| {who}");
    let row = text.lines().find(|line| line.starts_with(&start)).unwrap();
    let cells: Vec<&str> = row.split('|').collect();
    let subjects = |cell: &str| {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    [subjects(cells[2]), subjects(cells[3])]
}

/// A server with a trail, on which `limited` may do this.
fn server(publish: &[String], subscribe: &[String]) -> NatsServer {
    let server = NatsServer::start_with(&format!(
        "authorization {{ users: [
            {{ user: all, password: p }}
            {{ user: limited, password: p, permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }}
        ] }}"
    ));
    let url = server.url_as("all:p");
    let run = [
        "run", "--input", SESSIONS, "--spill", "spill", "--sink", &url,
    ];
    Bench::new().run(&run).assert_code(0);
    server
}

/// A client of the limited user, and what it is denied.
async fn limited(server: &NatsServer) -> (Client, UnboundedReceiver<String>) {
    let (tell, denied) = unbounded_channel();
    let options = ConnectOptions::with_user_and_password("limited".into(), "p".into());
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            tell.send(error.to_string().to_lowercase()).ok();
        }
        std::future::ready(())
    });
    (options.connect(server.url()).await.unwrap(), denied)
}

async fn within<T>(it: impl Future<Output = T>) -> T {
    timeout(LIMIT, it).await.expect("it comes in time")
}

#[test]
fn an_auditor_verifies_with_the_documented_permissions() {
    let [publish, subscribe] = documented("an auditor");
    let server = server(&publish, &subscribe);
    verify(&server.url_as("limited:p"), &[]).assert_holds();
}

#[test]
fn an_auditor_without_the_read_of_cursors_cannot_verify() {
    let [mut publish, subscribe] = documented("an auditor");
    publish.retain(|subject| subject != "$JS.API.STREAM.MSG.GET.AUDIT");
    let server = server(&publish, &subscribe);
    let said = Bench::new().run(&["verify", &server.url_as("limited:p")]);
    assert!(
        said.assert_code(2)
            .err
            .contains("credentials that let us read it"),
        "{said:?}"
    );
}

#[test]
fn an_auditor_can_change_nothing() {
    let [publish, subscribe] = documented("an auditor");
    let server = server(&publish, &subscribe);
    let before = read_stream(&server.url_as("all:p"), "AUDIT");
    let subjects = [
        "assembly.audit.acme.agent",
        "assembly.cursor.00000000-0000-0000-0000-000000000007",
        "$JS.API.STREAM.PURGE.AUDIT",
        "$JS.API.STREAM.DELETE.AUDIT",
        "$JS.API.STREAM.UPDATE.AUDIT",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.MSG.DELETE.AUDIT",
        "$JS.API.STREAM.MSG.GET.OTHER",
        "$JS.API.DIRECT.GET.AUDIT",
        "$JS.API.CONSUMER.CREATE.OTHER",
        "$JS.ACK.AUDIT.c.1.1.1.1.1",
    ];
    block_on(async {
        let (client, mut denied) = limited(&server).await;
        for subject in subjects {
            client.publish(subject, "{}".into()).await.unwrap();
            let said = within(denied.recv()).await.unwrap();
            assert!(said.contains(&subject.to_lowercase()), "{subject}: {said}");
        }
        // What others publish is not theirs to see as it passes.
        let _passing = client.subscribe("assembly.>").await.unwrap();
        let said = within(denied.recv()).await.unwrap();
        assert!(said.contains("assembly.>"), "{said}");
    });
    assert_eq!(read_stream(&server.url_as("all:p"), "AUDIT"), before);
}

/// Reads all entries with a consumer of its own, and acknowledges them.
async fn read(client: Client) -> usize {
    let stream = jetstream::new(client).get_stream("AUDIT").await.unwrap();
    let config = consumer::pull::Config {
        durable_name: Some("reader".to_owned()),
        filter_subject: "assembly.audit.>".to_owned(),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let fetched = consumer.fetch().max_messages(ENTRIES).messages().await;
    let mut messages = fetched.unwrap();
    let mut count = 0;
    while let Some(message) = within(messages.next()).await {
        message.unwrap().ack().await.unwrap();
        count += 1;
    }
    count
}

/// How many messages of the reader's are not acknowledged.
fn unacknowledged(server: &NatsServer) -> usize {
    block_on(async {
        let client = test_support::nats::client(&server.url_as("all:p")).await;
        let stream = jetstream::new(client).get_stream("AUDIT").await.unwrap();
        let info = stream.consumer_info("reader").await.unwrap();
        info.num_ack_pending
    })
}

#[test]
fn a_reader_has_all_entries_and_acknowledges_only_with_one_more_permission() {
    let [mut publish, subscribe] = documented("an auditor");
    let without = server(&publish, &subscribe);
    block_on(async {
        let (client, mut denied) = limited(&without).await;
        assert_eq!(read(client).await, ENTRIES);
        let said = within(denied.recv()).await.unwrap();
        assert!(said.contains("$js.ack."), "{said}");
    });
    assert_eq!(unacknowledged(&without), ENTRIES);

    let [more, _] = documented("… that acknowledges");
    publish.extend(more);
    let with = server(&publish, &subscribe);
    block_on(async {
        let (client, _denied) = limited(&with).await;
        assert_eq!(read(client.clone()).await, ENTRIES);
        client.flush().await.unwrap();
    });
    eventually("all are acknowledged", || {
        (unacknowledged(&with) == 0).then_some(())
    });
}
