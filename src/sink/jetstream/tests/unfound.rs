//! Tries to have entries stored twice by a server that cannot find a cursor which it has.

use std::fs;

use super::fast::{CURSOR, server};
use super::*;

/// A server reports a message that it cannot read as missing, and accepts a batch that expects none.
#[test]
fn a_cursor_that_the_server_cannot_read_is_not_taken_for_none() {
    let mut server = server();
    let records = records(1..=10, COMMON);
    Rig::new(&server.url()).deliver_all(&records[..5]);
    // A server caches nothing of the file after a start.
    server.end();
    server.restart();
    let block = server.path("store/jetstream/$G/streams/AUDIT/msgs/1.blk");
    let away = block.with_extension("away");
    fs::rename(&block, &away).unwrap();
    let mut rig = Rig::new(&server.url());
    let said = rig.position().unwrap_err();
    assert!(matches!(said, SinkError::Unavailable(_)), "{said}");
    assert!(said.to_string().contains("cannot read it"), "{said}");

    server.kill();
    fs::rename(&away, &block).unwrap();
    server.restart();
    let mut rig = Rig::new(&server.url());
    assert_eq!(rig.position().unwrap(), Some(records[4].id()));
    rig.deliver_all(&records[5..]);
    assert_stored(&server, &records);
}

/// The index of a server is wrong: it finds an older cursor by subject.
#[test]
fn a_cursor_that_is_in_the_stream_is_not_forgotten_for_an_older_one() {
    let mut server = server();
    let records = records(1..=10, COMMON);
    let mut rig = Rig::new(&server.url());
    rig.deliver_all(&records[..5]);
    let older = "assembly.cursor.older";
    let cursor = &read_stream(&server.url(), "AUDIT")[0];
    assert_eq!(cursor.subject, CURSOR);
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let sent = context.publish(older, cursor.payload.clone()).await;
        sent.unwrap().await.unwrap();
    });
    rig.deliver_all(&records[5..6]);
    let read = "$JS.API.DIRECT.GET.AUDIT";
    server.restart_with(&format!(
        "mappings: {{ \"{read}.{CURSOR}\": \"{read}.{older}\" }}"
    ));
    rig.position().expect_err("the connection is gone");
    // More often than a replica may lag behind.
    for _ in 0..50 {
        let said = rig.position().unwrap_err().to_string();
        assert!(said.contains("does not find it"), "{said}");
    }
    server.restart_with("");
    rig.deliver_all(&records[6..]);
    assert_stored(&server, &records);
}
