//! Tries to get by with less than the documented permissions: the error must name the missing one.

use super::*;

const INFO: &str = "$JS.API.STREAM.INFO.AUDIT";
const CREATE: &str = "$JS.API.STREAM.CREATE.AUDIT";
const UPDATE: &str = "$JS.API.STREAM.UPDATE.AUDIT";
const CURSOR: &str =
    "$JS.API.DIRECT.GET.AUDIT.assembly.cursor.00000000-0000-0000-0000-000000000007";
const ENTRIES: &str = "assembly.audit.>";
const CURSORS: &str = "assembly.cursor.00000000-0000-0000-0000-000000000007";
const INBOX: &str = "_INBOX.>";
/// For an existing stream.
const LEAST: [&str; 4] = [INFO, CURSOR, ENTRIES, CURSORS];

/// A user who may do everything, and one who may publish and subscribe to this.
fn limited(publish: &[&str], subscribe: &str) -> String {
    format!(
        "authorization {{ users: [
            {{ user: all, password: p }}
            {{ user: limited, password: p, permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }}
        ] }}"
    )
}

/// Delivers a few entries as the user, by a sink with this care.
fn attempt(server: &NatsServer, care: StreamCare) -> Delivery {
    let mut rig = Rig::with(&server.url_as("limited:p"), |c| c.stream_care = care);
    rig.deliver(&batch(&records(1..=10, COMMON), AMPLE))
}

/// Has the stream created by the user who may.
fn make_stream(server: &NatsServer) {
    Rig::new(&server.url_as("all:p")).position().unwrap();
}

/// A stream as others create it.
fn make_plain_stream(server: &NatsServer) {
    block_on(async {
        let config = jetstream::stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec![ENTRIES.to_owned()],
            ..Default::default()
        };
        let context = jetstream::new(client(&server.url_as("all:p")).await);
        context.create_stream(config).await.unwrap();
    });
}

/// The denial and its remedy are reported at once.
fn assert_denied(delivery: &Delivery, remedy: &str, started: Instant) {
    assert_eq!(delivery.stored, 0);
    assert!(
        matches!(&delivery.stopped, Some(SinkError::Misconfigured(why)) if why.ends_with(remedy)),
        "no {remedy:?} in {delivery:?}"
    );
    let took = started.elapsed();
    assert!(took < AMPLE / 2, "{took:?}");
}

fn without(all: &[&'static str], one: &str) -> Vec<&'static str> {
    all.iter().copied().filter(|it| *it != one).collect()
}

#[test]
fn the_least_permissions_suffice_for_a_stream_that_is_there() {
    for care in [StreamCare::Create, StreamCare::Upgrade, StreamCare::Verify] {
        let server = NatsServer::start_with(&limited(&LEAST, INBOX));
        make_stream(&server);
        assert_all(&attempt(&server, care), 10);
    }
}

#[test]
fn to_make_a_stream_or_to_upgrade_one_takes_one_more() {
    let server = NatsServer::start_with(&limited(&[&LEAST[..], &[CREATE]].concat(), INBOX));
    assert_all(&attempt(&server, StreamCare::Create), 10);
    let server = NatsServer::start_with(&limited(&[&LEAST[..], &[UPDATE]].concat(), INBOX));
    make_plain_stream(&server);
    assert_all(&attempt(&server, StreamCare::Upgrade), 10);

    let server = NatsServer::start_with(&limited(&LEAST, INBOX));
    let started = Instant::now();
    let delivery = attempt(&server, StreamCare::Create);
    assert_denied(&delivery, &format!("publish on {CREATE}"), started);
    make_plain_stream(&server);
    let started = Instant::now();
    let delivery = attempt(&server, StreamCare::Upgrade);
    assert_denied(&delivery, &format!("publish on {UPDATE}"), started);
}

#[test]
fn without_transactions_entries_the_info_of_the_stream_and_answers_suffice() {
    let server = NatsServer::start_with(&limited(&[INFO, ENTRIES], INBOX));
    make_plain_stream(&server);
    assert_all(&attempt(&server, StreamCare::Verify), 10);
}

#[test]
fn each_missing_permission_is_named_at_once() {
    let table = [
        (INFO, format!("publish on {INFO}")),
        (CURSOR, format!("publish on {CURSOR}")),
        (ENTRIES, "publish on assembly.audit.>".to_owned()),
        (CURSORS, "publish on assembly.cursor.>".to_owned()),
    ];
    for (lacking, remedy) in table {
        let server = NatsServer::start_with(&limited(&without(&LEAST, lacking), INBOX));
        make_stream(&server);
        let started = Instant::now();
        assert_denied(&attempt(&server, StreamCare::Verify), &remedy, started);
    }
    let server = NatsServer::start_with(&limited(&LEAST, "_OTHER.>"));
    make_stream(&server);
    let started = Instant::now();
    let delivery = attempt(&server, StreamCare::Verify);
    assert_denied(&delivery, "subscribe to _INBOX.>", started);
}

#[test]
fn a_single_entry_without_its_cursor_is_denied_as_well() {
    let server = NatsServer::start_with(&limited(&without(&LEAST, CURSORS), INBOX));
    make_stream(&server);
    let mut rig = Rig::new(&server.url_as("limited:p"));
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records(1..=1, COMMON), AMPLE));
    assert_denied(&delivery, "publish on assembly.cursor.>", started);
}

#[test]
fn the_inbox_prefix_is_where_answers_are_awaited() {
    let server = NatsServer::start_with(&limited(&LEAST, "_INBOX_audit.>"));
    make_stream(&server);
    let url = server.url_as("limited:p");
    let mut rig = Rig::with(&url, |c| c.inbox_prefix = Some("_INBOX_audit".to_owned()));
    assert_all(&rig.deliver(&batch(&records(1..=10, COMMON), AMPLE)), 10);
}

#[test]
fn of_a_transaction_with_an_entry_that_is_not_permitted_nothing_is_stored_and_once_it_is_all() {
    let publish = [&LEAST[..3], &[CURSORS]].concat();
    let only = publish.iter().map(|it| match *it {
        ENTRIES => "assembly.audit.acme.agent-1",
        other => other,
    });
    let mut server = NatsServer::start_with(&limited(&only.collect::<Vec<_>>(), INBOX));
    make_stream(&server);
    let mut rig = Rig::new(&server.url_as("limited:p"));
    let records = records(1..=10, COMMON);
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert_denied(&delivery, "publish on assembly.audit.>", started);

    // Once it is permitted, the same sink continues.
    server.restart_with(&limited(&LEAST, INBOX));
    rig.deliver_all(&records);
    let read = read_stream(&server.url_as("all:p"), "AUDIT");
    let of_entries = |it: &Message| it.subject.starts_with("assembly.audit.");
    let read: Vec<Message> = read.into_iter().filter(of_entries).collect();
    let expected: Vec<String> = records.iter().map(|it| it.id().to_string()).collect();
    assert_eq!(ids(&read), expected, "each once, in order");
}
