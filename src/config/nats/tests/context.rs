//! Tries to let a context override settings of higher priority, to make it ask for unsupported features, and to reveal
//! its secrets.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::nats::context::Directories;

/// As the tool writes it: every key, most of them empty.
const WHOLE: &str = r#"{
    "description": "production", "url": "nats://a:1, nats://b:2", "socks_proxy": "", "token": "", "user": "",
    "password": "", "creds": "~/me.creds", "nkey": "", "cert": "/c.pem", "key": "/c.key", "ca": "~/ca.pem", "nsc": "",
    "jetstream_domain": "hub", "jetstream_api_prefix": "", "jetstream_event_prefix": "events", "inbox_prefix": "_IN",
    "user_jwt": "", "color_scheme": "cyan", "tls_first": true, "windows_cert_store": "", "windows_cert_match_by": "",
    "windows_cert_match": "", "windows_ca_certs_match": null, "of_tomorrow": 1
}"#;

/// A home with one context, named `it`.
fn home(context: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let contexts = dir.path().join(".config/nats/context");
    fs::create_dir_all(&contexts).unwrap();
    fs::write(contexts.join("it.json"), context).unwrap();
    dir
}

fn completed(config: NatsConfig, home: &Path) -> Result<NatsConfig, ConfigError> {
    config.with_context_in(&Directories {
        home: Some(home.to_owned()),
        config: None,
    })
}

/// Completes these settings with the context.
fn with(context: &str, change: impl FnOnce(&mut NatsConfig)) -> Result<NatsConfig, ConfigError> {
    let home = home(context);
    let mut config = changed(change);
    config.context = Some("it".to_owned());
    completed(config, home.path())
}

#[test]
fn a_context_says_what_is_left_open_and_what_it_says_beside_is_passed_over() {
    let home = home(WHOLE);
    let config = changed(|c| {
        c.context = Some("it".to_owned());
        c.stream = "KEPT".to_owned();
    });
    let expected = changed(|c| {
        c.stream = "KEPT".to_owned();
        c.urls = vec!["nats://a:1".into(), "nats://b:2".into()];
        c.creds = Some(home.path().join("me.creds"));
        c.tls.ca = Some(home.path().join("ca.pem"));
        c.tls.cert = Some("/c.pem".into());
        c.tls.key = Some("/c.key".into());
        c.tls.handshake = Some(TlsHandshake::First);
        c.inbox_prefix = Some("_IN".to_owned());
        c.jetstream_domain = Some("hub".to_owned());
    });
    let found = completed(config, home.path()).unwrap();
    found.validate().unwrap();
    assert_eq!(found, expected);
    assert_eq!(found.api(), "$JS.hub.API");
    assert_eq!(
        found.clone().with_context().unwrap(),
        found,
        "once is enough"
    );
}

#[test]
fn every_setting_overrides_the_context() {
    let found = with(WHOLE, |c| {
        c.urls = vec!["nats://mine".into()];
        c.token = Some("t".into());
        c.tls.ca = Some("mine.pem".into());
        c.tls.handshake = Some(TlsHandshake::AfterInfo);
        c.inbox_prefix = Some("_MINE".to_owned());
        c.jetstream_api_prefix = Some("js.mine".to_owned());
    })
    .unwrap();
    let expected = changed(|c| {
        c.urls = vec!["nats://mine".into()];
        c.token = Some("t".into());
        c.tls.ca = Some("mine.pem".into());
        c.tls.cert = Some("/c.pem".into());
        c.tls.key = Some("/c.key".into());
        c.tls.handshake = Some(TlsHandshake::AfterInfo);
        c.inbox_prefix = Some("_MINE".to_owned());
        c.jetstream_api_prefix = Some("js.mine".to_owned());
    });
    assert_eq!(found, expected);
}

#[test]
fn one_kind_of_credential_is_kept_and_its_missing_half_completed() {
    let named = r#"{"url": "nats://who:what@h", "user": "u", "password": "p"}"#;
    let found = with(named, |c| c.creds = Some("c".into())).unwrap();
    assert_eq!((found.user, found.password), (None, None));
    assert_eq!(found.urls, ["nats://h".into()]);

    let found = with(r#"{"user": "u"}"#, |c| c.password = Some("mine".into())).unwrap();
    assert_eq!(found.user.as_deref(), Some("u"));
    assert_eq!(found.password, Some("mine".into()));

    let found = with(r#"{"user_jwt": "j", "user_seed": "s"}"#, |_| {}).unwrap();
    assert_eq!(
        (found.jwt, found.nkey),
        (Some("j".into()), Some("s".into()))
    );

    let found = with(named, |c| c.urls = vec!["nats://me:too@h".into()]).unwrap();
    assert_eq!((found.user, found.password), (None, None));
}

#[test]
fn the_environment_overrides_the_settings_and_names_the_context() {
    let home = home(r#"{"url": "nats://context", "token": "context", "inbox_prefix": "_IN"}"#);
    let read = |name| match name {
        "NATS_CONTEXT" => Ok("it".to_owned()),
        "NATS_TOKEN" => Ok("environment".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let settings = changed(|c| {
        c.context = Some("other".to_owned());
        c.token = Some("settings".into());
    });
    let found = completed(settings.with_vars(read).unwrap(), home.path()).unwrap();
    assert_eq!(found.token, Some("environment".into()));
    assert_eq!(found.urls, ["nats://context".into()]);
    assert_eq!(found.inbox(), "_IN");
}

#[test]
fn without_a_context_the_server_is_the_default_one() {
    let found = NatsConfig::default().with_context().unwrap();
    assert_eq!(found.urls, ["nats://127.0.0.1:4222".into()]);
}

#[test]
fn a_context_is_found_by_name_below_the_config_home_or_by_its_path() {
    let (home, other) = (home("{}"), home(r#"{"token": "t"}"#));
    let directories = Directories {
        home: Some(home.path().to_owned()),
        config: Some(other.path().join(".config")),
    };
    let named = changed(|c| c.context = Some("it".to_owned()));
    let found = named.with_context_in(&directories).unwrap();
    assert_eq!(found.token, Some("t".into()));

    let path = other.path().join(".config/nats/context/it.json");
    let by_path = changed(|c| c.context = Some(path.to_str().unwrap().to_owned()));
    assert_eq!(
        by_path.with_context_in(&Directories::default()).unwrap(),
        found
    );

    for name in ["", "../it", "none", "a/b"] {
        let config = changed(|c| c.context = Some(name.to_owned()));
        let error = config.with_context_in(&directories).unwrap_err();
        assert_eq!(error.key, "context", "{error}");
    }
    let homeless = changed(|c| c.context = Some("it".to_owned()));
    let error = homeless
        .with_context_in(&Directories::default())
        .unwrap_err();
    assert!(error.problem.contains("XDG_CONFIG_HOME"), "{error}");
}

#[test]
fn unsupported_and_broken_contexts_are_refused_without_showing_a_secret() {
    let table = [
        (r#"{"nsc": "nsc://o/a/u"}"#, "`nsc`"),
        (
            r#"{"socks_proxy": "socks5://who:hidden@h"}"#,
            "`socks_proxy`",
        ),
        (r#"{"windows_cert_store": "user"}"#, "`windows_cert_store`"),
        (r#"{"creds": "op://hidden"}"#, "`creds` must be fetched"),
        (
            r#"{"password": "env://hidden"}"#,
            "`password` must be fetched",
        ),
        (
            r#"{"token": "hidden", "creds": "hidden"}"#,
            "`creds` cannot be combined with `token`",
        ),
        (r#"{"user": "hidden"}"#, "`user` needs `password`"),
        (
            r#"{"tls_first": "hidden"}"#,
            "not a context of the `nats` tool: line 1",
        ),
        (
            r#"{"token": "hidden"#,
            "not a context of the `nats` tool: line 1",
        ),
        (r#""hidden""#, "not a context of the `nats` tool: line 1"),
    ];
    for (context, problem) in table {
        let error = with(context, |_| {}).unwrap_err();
        assert_eq!(error.key, "context");
        assert!(error.problem.contains("it.json"), "{error}");
        assert!(error.problem.contains(problem), "no {problem} in: {error}");
        assert!(!format!("{error:?}").contains("hidden"), "{error}");
    }
}
