//! Tries to get in without permission, to be kept out without an error, and to find a secret in the logs.

use std::fs;

use tempfile::TempDir;
use test_support::eventually::eventually;

use super::operator::Operator;
use super::*;

pub(super) const TOKEN: &str = "authorization { token: sesame }";
pub(super) const USER: &str = "authorization { user: anna, password: \"pa@ss\" }";
/// A pair from the documentation of NATS.
pub(super) const NKEY: &str =
    "authorization { users: [{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }] }";
pub(super) const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

/// Asks until the server has answered, whatever it says: a connection may take longer than the limit on a busy machine.
pub(super) fn position(url: &str, change: impl FnOnce(&mut NatsConfig)) -> Result<(), SinkError> {
    let mut rig = Rig::with(url, change);
    eventually("an answer", || match rig.position() {
        Err(SinkError::Disconnected(_)) => None,
        answered => Some(answered),
    })
}

pub(super) fn assert_kept_out(url: &str, change: impl FnOnce(&mut NatsConfig)) -> String {
    let error = position(url, change).unwrap_err();
    let SinkError::Misconfigured(why) = &error else {
        panic!("{error:?}");
    };
    assert!(!why.contains("hidden"), "{why}");
    why.clone()
}

#[test]
fn a_token_is_given_by_setting_or_url_and_a_wrong_one_is_misconfigured() {
    let server = NatsServer::start_with(TOKEN);
    position(&server.url(), |c| c.token = Some("sesame".into())).unwrap();
    position(&server.url_as("sesame"), |_| {}).unwrap();
    assert_kept_out(&server.url(), |c| c.token = Some("hidden".into()));
    assert_kept_out(&server.url_as("hidden"), |_| {});
    assert_kept_out(&server.url(), |_| {});
}

#[test]
fn user_and_password_are_given_by_setting_or_url_and_wrong_ones_are_misconfigured() {
    let server = NatsServer::start_with(USER);
    let anna = |password: &'static str| {
        move |c: &mut NatsConfig| {
            c.user = Some("anna".to_owned());
            c.password = Some(password.into());
        }
    };
    position(&server.url(), anna("pa@ss")).unwrap();
    position(&server.url_as("anna:pa%40ss"), |_| {}).unwrap();
    assert_kept_out(&server.url(), anna("hidden"));
    assert_kept_out(&server.url_as("anna:hidden"), |_| {});
}

#[test]
fn an_nkey_is_given_as_seed_or_file_and_a_bad_one_is_misconfigured() {
    let server = NatsServer::start_with(NKEY);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("seed");
    fs::write(&file, format!("{SEED}\n")).unwrap();
    position(&server.url(), |c| c.nkey = Some(SEED.into())).unwrap();
    position(&server.url(), |c| {
        c.nkey = Some(file.to_str().unwrap().into());
    })
    .unwrap();
    assert_kept_out(&server.url(), |c| c.nkey = Some("Shidden".into()));
    assert_kept_out(&server.url(), |_| {});
}

#[test]
fn a_credentials_file_that_cannot_be_used_is_misconfigured_and_named() {
    let server = NatsServer::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("creds");
    let named = assert_kept_out(&server.url(), |c| c.creds = Some(file.clone()));
    assert!(named.contains(file.to_str().unwrap()), "{named}");
    fs::write(&file, "hidden").unwrap();
    assert_kept_out(&server.url(), |c| c.creds = Some(file.clone()));
}

#[test]
fn a_jwt_and_its_seed_are_given_by_creds_file_by_setting_or_in_files_and_a_strangers_is_misconfigured()
 {
    let (operator, stranger) = (Operator::new(), Operator::new());
    let server = NatsServer::start_with(&operator.config());
    let (user, dir) = (operator.user(), TempDir::new().unwrap());
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let creds = file("creds", &user.creds());
    position(&server.url(), |c| c.creds = Some(creds.clone())).unwrap();
    let pair = |jwt: &str, seed: &str| {
        let (jwt, seed) = (jwt.into(), seed.into());
        |c: &mut NatsConfig| (c.jwt, c.nkey) = (Some(jwt), Some(seed))
    };
    position(&server.url(), pair(&user.jwt, &user.seed)).unwrap();
    // Either may be in a file, alone or among other lines.
    let jwt = file("jwt", &format!("{}\n", user.jwt));
    let (jwt, seed) = (jwt.to_str().unwrap(), creds.to_str().unwrap());
    position(&server.url(), pair(jwt, seed)).unwrap();

    let other = stranger.user();
    assert_kept_out(&server.url(), pair(&other.jwt, &other.seed));
    assert_kept_out(&server.url(), pair(&user.jwt, &other.seed));
    assert_kept_out(&server.url(), pair("hidden", &user.seed));
    file("creds", &other.creds());
    assert_kept_out(&server.url(), |c| c.creds = Some(creds.clone()));
    assert_kept_out(&server.url(), |_| {});
}

#[test]
fn a_context_authenticates_and_a_setting_overrides_it() {
    let server = NatsServer::start_with(USER);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("context.json");
    let url = server.url();
    let context = format!(r#"{{"url": "{url}", "user": "anna", "password": "pa@ss"}}"#);
    fs::write(&file, context).unwrap();
    let by_context = |c: &mut NatsConfig| {
        c.urls.clear();
        c.context = Some(file.to_str().unwrap().to_owned());
    };
    position("", by_context).unwrap();
    assert_kept_out("", |c| {
        by_context(c);
        c.token = Some("hidden".into());
    });
}

#[test]
fn debug_of_the_sink_shows_no_secret_connected_or_not() {
    let server = NatsServer::start_with("authorization { user: anna, password: hidden }");
    let mut rig = Rig::with(&server.url_as("anna:hidden"), |c| {
        c.token = Some("hidden".into());
    });
    let before = format!("{:?}", rig.sink);
    rig.position().unwrap();
    let after = format!("{:?}", rig.sink);
    assert!(!before.contains("hidden"), "{before}");
    assert!(!after.contains("hidden"), "{after}");
    assert!(after.contains("nats://***@127.0.0.1"), "{after}");
}

#[test]
fn credentials_that_are_revoked_in_the_middle_are_misconfigured_at_the_next_call() {
    let mut server = NatsServer::start_with(TOKEN);
    let mut rig = Rig::with(&server.url(), |c| c.token = Some("sesame".into()));
    rig.position().unwrap();
    server.restart_with("authorization { token: other }");
    let batch = ten(&mut Draft::new());
    let until = Instant::now() + AMPLE;
    while !matches!(
        rig.deliver(&batch).stopped,
        Some(SinkError::Misconfigured(_))
    ) {
        assert!(Instant::now() < until, "it was never logged");
    }
}
