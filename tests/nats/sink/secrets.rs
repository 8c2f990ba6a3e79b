//! Searches for secrets: every kind of credentials is used with a recognisable secret, through success, outage, return
//! and refusal. Then all logs (at their finest level), `Debug` output and errors are searched.

use std::fs;

use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;

use super::logs::logged;
use super::operator::Operator;
use super::tls::{Authority, tls};
use super::*;

/// Lets in none of the users below.
const SHUT: &str = "authorization { token: other }";

/// Everything that is logged with these settings, from connecting to the end.
fn said(server: &mut NatsServer, change: impl FnOnce(&mut NatsConfig)) -> String {
    let url = server.url_by_name();
    let mut said = Vec::new();
    let log = logged(|| {
        let mut rig = Rig::with(&url, |c| {
            change(c);
            said.push(format!("{c:?}"));
        });
        said.push(format!("{:?}", rig.sink));
        let draft = &mut Draft::new();
        let (first, second) = (ten(draft), ten(draft));
        assert_whole(&rig.deliver(&first));
        said.push(format!("{:?}", rig.sink));
        server.kill();
        said.push(format!("{:?}", rig.deliver(&second)));
        server.restart();
        rig.deliver_all(&second);
        server.restart_with(SHUT);
        for _ in 0..2 {
            let refused = rig.deliver(&second).stopped.unwrap();
            said.push(format!("{refused} {refused:?} {:?}", rig.sink));
        }
    });
    assert!(
        log.contains("async_nats"),
        "the client's own log is searched, too"
    );
    said.push(log);
    said.join("\n")
}

#[track_caller]
fn assert_hidden(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(secret.len() >= 8, "that could be there by chance");
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[test]
fn no_token_and_no_password_is_logged() {
    let mut server = NatsServer::start_with("authorization { token: sesame-1 }");
    assert_hidden(
        &said(&mut server, |c| c.token = Some("sesame-1".into())),
        &["sesame-1"],
    );

    let mut server = NatsServer::start_with("authorization { token: sesame-2 }");
    let url = server.url_as("sesame-2");
    assert_hidden(
        &said(&mut server, |c| c.urls = vec![url.into()]),
        &["sesame-2"],
    );

    let user = "authorization { user: anna, password: sesame-3 }";
    let mut server = NatsServer::start_with(user);
    let found = said(&mut server, |c| {
        c.user = Some("anna".to_owned());
        c.password = Some("sesame-3".into());
    });
    assert_hidden(&found, &["sesame-3"]);

    let user = "authorization { user: annabella, password: \"sesame@4\" }";
    let mut server = NatsServer::start_with(user);
    let url = server.url_as("annabella:sesame%404");
    let found = said(&mut server, |c| c.urls = vec![url.into()]);
    assert_hidden(&found, &["sesame@4", "sesame%404"]);
}

#[test]
fn no_secret_of_a_context_is_logged() {
    let user = "authorization { user: anna, password: sesame-5 }";
    let mut server = NatsServer::start_with(user);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("context.json");
    let context = r#"{"user": "anna", "password": "sesame-5"}"#;
    fs::write(&file, context).unwrap();
    let found = said(&mut server, |c| {
        c.context = Some(file.to_str().unwrap().to_owned());
    });
    assert_hidden(&found, &["sesame-5"]);
}

#[test]
fn no_seed_and_no_jwt_is_logged() {
    let mut server = NatsServer::start_with(access::NKEY);
    let found = said(&mut server, |c| c.nkey = Some(access::SEED.into()));
    assert_hidden(&found, &[access::SEED]);

    let operator = Operator::new();
    let user = operator.user();
    let signature = user.jwt.rsplit('.').next().unwrap();
    let secrets = [user.seed.as_str(), user.jwt.as_str(), signature];
    let mut server = NatsServer::start_with(&operator.config());
    let found = said(&mut server, |c| {
        c.jwt = Some(user.jwt.as_str().into());
        c.nkey = Some(user.seed.as_str().into());
    });
    assert_hidden(&found, &secrets);

    let dir = TempDir::new().unwrap();
    let creds = dir.path().join("creds");
    fs::write(&creds, user.creds()).unwrap();
    let mut server = NatsServer::start_with(&operator.config());
    let found = said(&mut server, |c| c.creds = Some(creds.clone()));
    assert_hidden(&found, &secrets);
}

#[test]
fn nothing_of_a_private_key_is_logged() {
    let authority = Authority::new();
    let pair = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let (cert, key) = authority.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
    let ca = authority.path("ca.pem");
    let mut server = NatsServer::start_with(&tls(&pair, &ca));
    let text = fs::read_to_string(&key).unwrap();
    let secrets: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let found = said(&mut server, |c| {
        (c.tls.ca, c.tls.cert, c.tls.key) = (Some(ca), Some(cert), Some(key));
    });
    assert_hidden(&found, &secrets);
}

#[test]
fn what_was_mistaken_for_a_path_or_written_into_the_wrong_place_is_not_logged() {
    let server = NatsServer::start_with(SHUT);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "sesame-6").unwrap();
    let path = file.to_str().unwrap();
    let changes: [&dyn Fn(&mut NatsConfig); 5] = [
        &|c| c.nkey = Some("sesame-6".into()),
        &|c| c.nkey = Some(path.into()),
        &|c| c.creds = Some(file.clone()),
        &|c| (c.jwt, c.nkey) = (Some("sesame-6".into()), Some(access::SEED.into())),
        &|c| (c.jwt, c.nkey) = (Some(path.into()), Some(access::SEED.into())),
    ];
    for change in changes {
        let mut errors = String::new();
        let log = logged(|| {
            let error = access::position(&server.url(), |c| change(c)).unwrap_err();
            errors = format!("{error} {error:?}");
        });
        assert_hidden(&(errors + &log), &["sesame-6", access::SEED]);
    }
}
