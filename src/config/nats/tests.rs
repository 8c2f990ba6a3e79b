//! Tries to reveal secrets, and to get settings past the check that could never work.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test may panic"
)]

mod context;

use std::env::VarError;
use std::ffi::OsString;

use super::*;

fn changed(change: impl FnOnce(&mut NatsConfig)) -> NatsConfig {
    let mut config = NatsConfig::default();
    change(&mut config);
    config
}

#[test]
fn the_defaults_are_valid() {
    NatsConfig::default().validate().unwrap();
}

#[test]
fn what_could_never_work_is_refused_by_its_key() {
    let table: [(&str, NatsConfig); 17] = [
        ("urls", changed(|c| c.urls = vec!["http://h".into()])),
        ("urls", changed(|c| c.urls = vec!["nats://".into()])),
        ("stream", changed(|c| c.stream = String::new())),
        ("stream", changed(|c| c.stream = "a.b".to_owned())),
        (
            "subject_prefix",
            changed(|c| c.subject_prefix = String::new()),
        ),
        (
            "subject_prefix",
            changed(|c| c.subject_prefix = "a..b".to_owned()),
        ),
        (
            "subject_prefix",
            changed(|c| c.subject_prefix = "a.>".to_owned()),
        ),
        ("user", changed(|c| c.user = Some("u".to_owned()))),
        ("password", changed(|c| c.password = Some("p".into()))),
        (
            "nkey",
            changed(|c| {
                c.token = Some("t".into());
                c.nkey = Some("n".into());
            }),
        ),
        ("tls.cert", changed(|c| c.tls.cert = Some("c".into()))),
        ("tls.key", changed(|c| c.tls.key = Some("k".into()))),
        (
            "ping_interval",
            changed(|c| c.ping_interval = Duration::ZERO),
        ),
        ("stream_replicas", changed(|c| c.stream_replicas = 6)),
        (
            "stream_max_age",
            changed(|c| c.stream_max_age = Some(Duration::ZERO)),
        ),
        (
            "stream_max_bytes",
            changed(|c| c.stream_max_bytes = Some(0)),
        ),
        (
            "stream_max_bytes",
            changed(|c| c.stream_max_bytes = Some(u64::MAX)),
        ),
    ];
    for (key, config) in table {
        assert_eq!(config.validate().unwrap_err().key, key, "{config:?}");
    }
}

#[test]
fn what_never_leads_to_jetstream_is_refused_by_its_key() {
    let table: [(&str, NatsConfig); 5] = [
        ("jwt", changed(|c| c.jwt = Some("j".into()))),
        (
            "inbox_prefix",
            changed(|c| c.inbox_prefix = Some("a.*".to_owned())),
        ),
        (
            "jetstream_api_prefix",
            changed(|c| c.jetstream_api_prefix = Some("a.".to_owned())),
        ),
        (
            "jetstream_domain",
            changed(|c| c.jetstream_domain = Some("a.b".to_owned())),
        ),
        (
            "jetstream_api_prefix",
            changed(|c| {
                c.jetstream_domain = Some("hub".to_owned());
                c.jetstream_api_prefix = Some("a.b".to_owned());
            }),
        ),
    ];
    for (key, config) in table {
        assert_eq!(config.validate().unwrap_err().key, key, "{config:?}");
    }
}

#[test]
fn no_secret_shows_in_debug_or_in_an_error() {
    let config = changed(|c| {
        c.urls = vec!["nats://hidden1:hidden2@h:1".into(), "hidden3@h".into()];
        c.token = Some("hidden4".into());
        c.password = Some("hidden5".into());
        c.nkey = Some("hidden6".into());
        c.jwt = Some("hidden9".into());
    });
    let error = changed(|c| c.urls = vec!["nats://hidden7:hid@den8@h:port".into()])
        .validate()
        .unwrap_err();
    let shown = format!("{config:?} {error} {error:?}");
    assert!(!shown.contains("hid"), "{shown}");
    assert!(shown.contains("nats://***@h:1"), "{shown}");
}

#[test]
fn each_variable_overrules_its_setting() {
    let config = changed(|c| c.stream = "KEPT".to_owned())
        .with_vars(|name| match name {
            "NATS_URL" => Ok("nats://a:1, nats://b:2,".to_owned()),
            "NATS_TOKEN" => Ok(String::new()),
            _ => Ok(name.to_lowercase()),
        })
        .unwrap();
    let expected = changed(|c| {
        c.urls = vec!["nats://a:1".into(), "nats://b:2".into()];
        c.context = Some("nats_context".to_owned());
        c.stream = "KEPT".to_owned();
        c.user = Some("nats_user".to_owned());
        c.password = Some("nats_password".into());
        c.creds = Some("nats_creds".into());
        c.nkey = Some("nats_nkey".into());
        c.tls.ca = Some("nats_ca".into());
        c.tls.cert = Some("nats_cert".into());
        c.tls.key = Some("nats_key".into());
    });
    assert_eq!(config, expected);
    let error = NatsConfig::default()
        .with_vars(|_| Err(VarError::NotUnicode(OsString::new())))
        .unwrap_err();
    assert_eq!(error.key, "NATS_URL");
}

#[test]
fn a_credential_variable_replaces_all_other_credentials() {
    let changed = |change: &dyn Fn(&mut NatsConfig)| {
        let mut config = changed(change);
        config.urls = vec!["nats://127.0.0.1:4222".into()];
        config
    };
    let ways: [(&str, NatsConfig); 5] = [
        ("NATS_TOKEN", changed(&|c| c.token = Some("v".into()))),
        ("NATS_CREDS", changed(&|c| c.creds = Some("v".into()))),
        ("NATS_NKEY", changed(&|c| c.nkey = Some("v".into()))),
        (
            "NATS_USER",
            changed(&|c| {
                c.user = Some("v".to_owned());
                c.password = Some("p".into());
            }),
        ),
        (
            "NATS_PASSWORD",
            changed(&|c| {
                c.user = Some("u".to_owned());
                c.password = Some("v".into());
            }),
        ),
    ];
    for (set, expected) in ways {
        let mut config = changed(&|c| {
            c.token = Some("t".into());
            c.user = Some("u".to_owned());
            c.password = Some("p".into());
            c.creds = Some("c".into());
            c.nkey = Some("n".into());
        });
        config.urls = vec!["nats://who:what@127.0.0.1:4222".into()];
        let read = |name| {
            if name == set {
                Ok("v".to_owned())
            } else {
                Err(VarError::NotPresent)
            }
        };
        let config = config.with_vars(read).unwrap();
        assert_eq!(config, expected, "{set}");
        assert_eq!(config.urls[0].to_string(), "nats://127.0.0.1:4222");
        config.validate().unwrap();
    }
    let alone = changed(&|c| c.token = Some("t".into()));
    let none = |_| Err(VarError::NotPresent);
    assert_eq!(alone.clone().with_vars(none).unwrap(), alone);
}

#[test]
fn serde_reads_every_setting_and_refuses_an_unknown_one() {
    let config: NatsConfig = serde_json::from_str(
        r#"{"urls": ["tls://h"], "context": "C", "name": "N", "inbox_prefix": "I", "jetstream_domain": "D", "stream": "S", "stream_care": "verify", "subject_prefix": "p", "token": "t",
            "tls": {"ca": "c", "handshake": "first"}, "ping_interval": "250ms", "discovered_servers": "ignore", "stream_replicas": 3,
            "stream_storage": "memory", "stream_max_age": "1h", "stream_max_bytes": "5 KiB"}"#,
    )
    .unwrap();
    config.validate().unwrap();
    assert_eq!(config.stream_care, StreamCare::Verify);
    assert_eq!(config.ping_interval, Duration::from_millis(250));
    assert_eq!(config.stream_max_age, Some(Duration::from_secs(3_600)));
    assert_eq!(config.stream_max_bytes, Some(5 << 10));
    let unknown = serde_json::from_str::<NatsConfig>(r#"{"stream_name": "S"}"#).unwrap_err();
    assert!(unknown.to_string().contains("stream_name"), "{unknown}");
}

#[test]
fn a_secret_of_another_kind_is_refused_and_not_shown() {
    for text in [
        r#"{"token": 7654321}"#,
        r#"{"password": {"deep": "7654321"}}"#,
        r#"{"nkey": ["7654321"]}"#,
        r#"{"urls": "nats://who:7654321@h"}"#,
        r#"{"urls": ["nats://h", 7654321]}"#,
    ] {
        let error = serde_json::from_str::<NatsConfig>(text).unwrap_err();
        assert!(error.to_string().contains("must be a"), "{error}");
        assert!(!error.to_string().contains("7654321"), "{error}");
    }
}

#[test]
fn a_server_that_another_names_is_reached_in_the_same_way() {
    for (url, named, expected) in [
        ("nats://a:1", "10.0.0.2:4222", "nats://10.0.0.2:4222"),
        ("tls://u:p@a:1", "10.0.0.2:4222", "tls://u:p@10.0.0.2:4222"),
        ("tls://token@a:1", "nats://x:y@b:2", "tls://token@b:2"),
        ("tls://a:1", "[::1]:4222", "tls://[::1]:4222"),
    ] {
        assert_eq!(NatsUrl::from(url).at(named).expose(), expected);
    }
}

#[test]
fn several_servers_in_one_url_are_several_urls_and_each_is_one_of_its_own() {
    for (url, expected) in [
        ("nats://a:1,b:2", vec!["nats://a:1", "nats://b:2"]),
        ("nats://a:1, nats://b:2,", vec!["nats://a:1", "nats://b:2"]),
        ("a:1,b", vec!["nats://a:1", "nats://b"]),
        (
            "nats://u:p@a,b,t@c",
            vec!["nats://u:p@a", "nats://b", "nats://t@c"],
        ),
        ("nats://u:p%2Cw@a,b", vec!["nats://u:p%2Cw@a", "nats://b"]),
        // What is encrypted in one case must not be sent unencrypted in another.
        ("tls://a,b:2", vec!["tls://a", "tls://b:2"]),
        ("a,tls://b,nats://c", vec!["tls://a", "tls://b", "nats://c"]),
    ] {
        let config = changed(|c| c.urls = vec![url.into(), "nats://z".into()]);
        config.validate().unwrap();
        let config = config.with_context().unwrap();
        let found: Vec<_> = config.urls.iter().map(NatsUrl::expose).collect();
        assert_eq!(found, [expected, vec!["nats://z"]].concat());
    }
    for url in ["", ",", "nats://a,", "nats://a,http://b"] {
        let valid = changed(|c| c.urls = vec![url.into()]).validate();
        assert_eq!(valid.is_ok(), url == "nats://a,", "{url:?}");
    }
}

#[test]
fn half_of_a_password_with_a_comma_is_not_shown() {
    for url in ["nats://u:hidden,w@h", "u:7654321,w@h"] {
        let error = changed(|c| c.urls = vec![url.into()])
            .validate()
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("hidden") && !text.contains("7654321"),
            "{text}"
        );
    }
}
