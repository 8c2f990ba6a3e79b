use super::super::stream::wanted;
use super::*;

#[test]
fn each_weakness_is_named_and_what_was_asked_for_is_none() {
    let config = NatsConfig::default();
    let new: Settings = serde_json::from_value(wanted(&config, true)).expect("settings");
    let version = FAST_SINCE;
    let of = |found: &Settings| weaknesses(found, &config, &entries(&config), version);
    assert!(of(&new).is_empty());
    assert_eq!(mode(&new, &config, version), Mode::Measured);
    assert_eq!(mode(&new, &config, (2, 14, 3)), Mode::Atomic);
    let weak = Settings {
        storage: "memory".to_owned(),
        retention: "workqueue".to_owned(),
        persist_mode: "async".to_owned(),
        subjects: vec!["assembly.audit.*.*".to_owned()],
        max_msgs: 7,
        discard: "old".to_owned(),
        max_msgs_per_subject: 1,
        allow_rollup_hdrs: true,
        subject_transform: Some(Transform::default()),
        ..new.clone()
    };
    assert_eq!(of(&weak).len(), 10);
    for found in [
        Settings {
            allow_atomic: false,
            allow_batched: false,
            duplicate_window: 1,
            ..new.clone()
        },
        Settings {
            discard_new_per_subject: true,
            duplicate_window: 1,
            ..new.clone()
        },
        Settings {
            subjects: vec!["assembly.audit.>".to_owned()],
            duplicate_window: 1,
            ..new.clone()
        },
    ] {
        assert_eq!(of(&found).len(), 1);
        assert_eq!(mode(&found, &config, version), Mode::Messages);
    }
}

#[test]
fn what_would_take_or_keep_nothing_is_refused() {
    let config = NatsConfig::default();
    let good: Settings = serde_json::from_value(wanted(&config, true)).expect("settings");
    let ours = entries(&config);
    assert_eq!(refusal(&good, &ours, 0), None);
    let interest = Settings {
        retention: "interest".to_owned(),
        ..good.clone()
    };
    assert_eq!(refusal(&interest, &ours, 1), None);
    let table = [
        interest,
        Settings {
            mirror: Some(serde_json::Value::Null),
            ..good.clone()
        },
        Settings {
            no_ack: true,
            ..good.clone()
        },
        Settings {
            sealed: true,
            ..good.clone()
        },
        Settings {
            allow_msg_counter: true,
            ..good.clone()
        },
        Settings {
            subjects: vec!["other.>".to_owned()],
            ..good
        },
    ];
    for found in table {
        assert!(refusal(&found, &ours, 0).is_some(), "{found:?}");
    }
}
