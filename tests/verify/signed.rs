//! An attacker has all rights on the stream, knows how everything is computed, and covers up every change: entries are
//! renumbered, cursors and announced losses corrected. The attacker lacks only the key. Other tests cover what can be
//! found without it; here the signatures must find it.

use std::fs;
use std::path::PathBuf;

use data_encoding::BASE64;
use serde_json::{Value, json};
use signed_note::{Note, StandardSigner, generate_key};
use spillring::seal::{PublicKeys, Tree};
use tempfile::TempDir;
use tlog_tiles::tlog;

use super::said::{Verdict, verify};
use super::trail::{Publisher, cursor, entries, places, signed_trail, stream_of, stream_with};
use test_support::nats::{Message, NatsServer, read_stream};

/// What an auditor has: a file of publishers, and what the last audit has seen.
pub(super) struct Auditor {
    dir: TempDir,
}

impl Auditor {
    pub(super) fn knowing(keys: &[&str]) -> Self {
        let table = |key: &&str| format!("[[publisher]]\nkey = {key:?}\n");
        Self::with(&keys.iter().map(table).collect::<String>())
    }

    /// With this file of publishers.
    pub(super) fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("trust.toml"), text).unwrap();
        Self { dir }
    }

    /// The file of publishers.
    pub(super) fn trust(&self) -> PathBuf {
        self.dir.path().join("trust.toml")
    }

    /// What the last audit has seen.
    pub(super) fn last(&self) -> PathBuf {
        self.dir.path().join("last.json")
    }

    pub(super) fn judge(&self, url: &str) -> Verdict {
        let trust = self.dir.path().join("trust.toml");
        let last = self.last();
        let mut arguments = vec!["--publishers", trust.to_str().unwrap()];
        if last.exists() {
            arguments.extend(["--since", last.to_str().unwrap()]);
        }
        verify(url, &arguments)
    }

    /// Audits, and remembers what there is.
    pub(super) fn audit(&self, url: &str) {
        let (trust, last) = (self.trust(), self.last());
        let mut arguments = vec!["--publishers", trust.to_str().unwrap()];
        if last.exists() {
            arguments.extend(["--since", last.to_str().unwrap()]);
        }
        arguments.extend(["--save", last.to_str().unwrap()]);
        let verdict = verify(url, &arguments);
        assert_eq!(verdict.authentic(), "yes", "{verdict:#?}");
    }
}

/// Writes the trail anew once it is changed, and lets an auditor judge it who knows the publisher's key.
fn forged(change: impl FnOnce(&mut Vec<Message>, &[usize])) -> Verdict {
    let (mut trail, key) = signed_trail();
    let at = places(&trail);
    change(&mut trail, &at);
    Auditor::knowing(&[&key]).judge(&stream_of(&trail).url())
}

fn set(message: &mut Message, header: &str, value: &str) {
    message.headers.insert(header.to_owned(), value.to_owned());
}

fn cursors(trail: &mut [Message]) -> impl Iterator<Item = &mut Message> {
    let is_cursor = |message: &&mut Message| message.subject.starts_with("assembly.cursor.");
    trail.iter_mut().filter(is_cursor)
}

pub(super) fn change_cursor(message: &mut Message, change: impl FnOnce(&mut Value)) {
    let mut cursor: Value = serde_json::from_slice(&message.payload).unwrap();
    change(&mut cursor);
    message.payload = cursor.to_string().into();
}

/// Announces one more loss in all cursors of the run from this number on.
fn announce(trail: &mut [Message], run: &str, from: u64) {
    for message in cursors(trail) {
        change_cursor(message, |cursor| {
            if cursor["run"] == run && cursor["last"].as_u64() >= Some(from) {
                cursor["lost"] = (cursor["lost"].as_u64().unwrap() + 1).into();
            }
        });
    }
}

pub(super) fn id(message: &Message) -> (String, u64) {
    let (run, n) = message.header("Audit-Id").unwrap().split_once('.').unwrap();
    (run.to_owned(), n.parse().unwrap())
}

pub(super) fn assert_forged(verdict: &Verdict, names: &[&str]) {
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
    let forged = verdict.forged();
    let found = names.iter().all(|name| forged.contains(name));
    assert!(found && forged.len() <= 4, "{forged:?}: {verdict:#?}");
}

#[test]
fn an_honest_trail_is_authentic_to_whoever_knows_the_first_key() {
    let verdict = forged(|_, _| ());
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
    assert_eq!(
        (&verdict.json["signed"], &verdict.json["unsigned"]),
        (&60.into(), &0.into())
    );
}

#[test]
fn an_entry_turned_into_an_announced_loss_is_found() {
    let verdict = forged(|trail, at| {
        let (run, n) = id(&trail[at[13]]);
        set(&mut trail[at[14]], "Audit-Lost", "1");
        trail.remove(at[13]);
        announce(trail, &run, n);
    });
    assert_eq!(verdict.json["complete"], true, "{verdict:#?}");
    assert_forged(&verdict, &["signed_missing"]);
}

#[test]
fn a_payload_that_is_replaced_by_another_entry_is_not_what_was_signed() {
    for place in [0, 9, 31, 59] {
        let verdict = forged(|trail, at| {
            let other = (0..60).find(|other| {
                let same = |other: usize| trail[at[other]].subject == trail[at[place]].subject;
                *other != place && same(*other)
            });
            trail[at[place]].payload = trail[at[other.unwrap()]].payload.clone();
        });
        assert_forged(&verdict, &["not_as_signed"]);
    }
}

#[test]
fn payloads_that_are_swapped_are_not_what_was_signed() {
    let verdict = forged(|trail, at| {
        let (one, other) = (trail[at[40]].clone(), trail[at[41]].clone());
        trail[at[40]].payload = other.payload;
        trail[at[40]].subject = other.subject;
        trail[at[41]].payload = one.payload;
        trail[at[41]].subject = one.subject;
    });
    assert_forged(&verdict, &["not_as_signed"]);
}

#[test]
fn headers_and_the_subject_are_signed() {
    let edits: [fn(&mut Message); 4] = [
        |message| {
            set(
                message,
                "Audit-Requeued",
                "01a21a2e-6a9f-703a-a491-da9c311ae493.7",
            );
        },
        |message| set(message, "Audit-Lost", "1"),
        |message| message.subject.push_str(".x"),
        |message| {
            let (run, n) = id(message);
            set(message, "Audit-Id", &format!("{run}.{}", n + 1));
        },
    ];
    for edit in edits {
        let verdict = forged(|trail, at| edit(&mut trail[at[17]]));
        assert_forged(&verdict, &["not_as_signed"]);
    }
    let verdict = forged(|trail, at| {
        let opening = trail[at[30]].header("Audit-Run").unwrap().to_owned();
        set(
            &mut trail[at[30]],
            "Audit-Run",
            &(opening + "; killed_starts=3"),
        );
    });
    assert_forged(&verdict, &["not_as_signed"]);
}

#[test]
fn an_entry_that_is_inserted_or_doubled_is_one_too_many() {
    let verdict = forged(|trail, at| {
        let last = at[59];
        let mut more = trail[last].clone();
        let (run, n) = id(&more);
        set(&mut more, "Audit-Id", &format!("{run}.{}", n + 1));
        let newest = cursor(trail);
        change_cursor(&mut trail[newest], |cursor| cursor["last"] = (n + 1).into());
        trail.insert(last + 1, more);
    });
    assert_eq!(verdict.json["complete"], true, "{verdict:#?}");
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
    let verdict = forged(|trail, at| trail.insert(at[8] + 1, trail[at[8]].clone()));
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
}

#[test]
fn a_head_that_is_removed_leaves_more_signed_than_there_is() {
    let verdict = forged(|trail, at| drop(trail.drain(at[2]..at[25])));
    assert_forged(&verdict, &["signed_missing"]);
}

/// Without its checkpoints, or with those of another.
#[test]
fn a_checkpoint_cannot_be_left_out_moved_or_edited() {
    let verdict = forged(|trail, _| {
        let newest = cursor(trail);
        change_cursor(&mut trail[newest], |cursor| {
            drop(cursor.as_object_mut().unwrap().remove("seal"));
        });
    });
    assert_forged(&verdict, &["seal_missing"]);
    let verdict = forged(|trail, _| {
        let newest = cursor(trail);
        change_cursor(&mut trail[newest], |cursor| {
            let note = cursor["seal"]["checkpoint"].as_str().unwrap().to_owned();
            cursor["seal"]["checkpoint"] = note.replacen("\n60\n", "\n59\n", 1).into();
        });
    });
    assert_forged(&verdict, &["not_signed"]);
    let verdict = forged(|trail, _| {
        let seals: Vec<Value> = cursors(trail)
            .map(|message| {
                serde_json::from_slice::<Value>(&message.payload).unwrap()["seal"].clone()
            })
            .collect();
        let newest = cursor(trail);
        change_cursor(&mut trail[newest], |cursor| {
            cursor["seal"] = seals[seals.len() - 2].clone();
        });
    });
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
}

#[test]
fn a_trail_without_any_checkpoint_is_unsigned_and_that_is_not_good_enough() {
    let verdict = forged(|trail, _| {
        for message in cursors(trail) {
            change_cursor(message, |cursor| {
                drop(cursor.as_object_mut().unwrap().remove("seal"));
            });
        }
    });
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
    assert_eq!(verdict.forged(), ["seal_missing"]);
}

/// Everything is right, but for the key.
#[test]
fn a_trail_that_is_signed_with_another_key_is_not_the_publishers() {
    let (server, real, imposter) = (NatsServer::start(), Publisher::new(), Publisher::new());
    let mut run = real.start_on(&server);
    run.publish(entries(0..10));
    run.end();
    let key = real.key();
    // The imposter publishes under the same id.
    let (from, to) = (
        real.dir.path().join("spill"),
        imposter.dir.path().join("spill"),
    );
    fs::create_dir(&to).unwrap();
    fs::copy(from.join("identity"), to.join("identity")).unwrap();
    let forged = NatsServer::start();
    let mut run = imposter.start_on(&forged);
    run.publish(entries(0..10));
    run.end();
    assert_ne!(imposter.key(), key);
    let auditor = Auditor::knowing(&[&key]);
    auditor.audit(&server.url());
    fs::remove_file(auditor.dir.path().join("last.json")).unwrap();
    assert_forged(&auditor.judge(&forged.url()), &["key_unknown"]);
}

/// Whoever takes the key of today can sign what comes, and not what was: the key before has signed where it goes on.
#[test]
fn the_key_of_today_does_not_sign_yesterday() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    for part in [0..10, 10..20] {
        let mut run = publisher.start_on(&server);
        run.publish(entries(part));
        run.end();
    }
    let thief = Thief::at(&publisher);
    let auditor = Auditor::knowing(&[&thief.public.first]);
    let trail = read_stream(&server.url(), "AUDIT");
    let mut today = trail.clone();
    let at = places(&trail);
    today[at[15]].payload = trail[at[14]].payload.clone();
    thief.sign_again(&mut today);
    assert_eq!(auditor.judge(&stream_of(&today).url()).authentic(), "yes");
    let mut yesterday = trail.clone();
    yesterday[at[5]].payload = trail[at[4]].payload.clone();
    thief.sign_again(&mut yesterday);
    assert_forged(&auditor.judge(&stream_of(&yesterday).url()), &["forked"]);
}

/// Has the present private key of a publisher.
struct Thief {
    key: StandardSigner,
    public: PublicKeys,
}

impl Thief {
    fn at(publisher: &Publisher) -> Self {
        let spill = publisher.dir.path().join("spill");
        let file = fs::read(spill.join("signing-keys.json")).unwrap();
        let stolen: Value = serde_json::from_slice(&file).unwrap();
        Self {
            key: StandardSigner::new(stolen["private"].as_str().unwrap()).unwrap(),
            public: PublicKeys::read(&spill).unwrap().unwrap(),
        }
    }

    /// Signs what the trail now says: each cursor comes before the entries that it covers.
    fn sign_again(&self, trail: &mut [Message]) {
        let mut tree = Tree::default();
        for at in 0..trail.len() {
            if !trail[at].subject.starts_with("assembly.cursor.") {
                continue;
            }
            for message in trail[at + 1..]
                .iter()
                .take_while(|it| it.header("Audit-Id").is_some())
            {
                tree.push(tlog::record_hash(&leaf_bytes(message)).0);
            }
            change_cursor(&mut trail[at], |cursor| self.sign(cursor, &tree));
        }
    }

    fn sign(&self, cursor: &mut Value, tree: &Tree) {
        let note = cursor["seal"]["checkpoint"].as_str().unwrap();
        let lines: Vec<_> = note.lines().collect();
        let (size, root) = (tree.size(), BASE64.encode(&tree.root()));
        let text = format!("{}\n{size}\n{root}\n{}\n{}\n", lines[0], lines[3], lines[4]);
        let mut note = Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&self.key]).unwrap();
        let note = String::from_utf8(note.to_bytes()).unwrap();
        let peaks: Vec<_> = tree
            .peaks()
            .iter()
            .map(|peak| BASE64.encode(peak))
            .collect();
        let (key, certificates) = (&self.public.current, &self.public.certificates);
        cursor["seal"] =
            json!({ "checkpoint": note, "key": key, "peaks": peaks, "certificates": certificates });
    }
}

/// An entry as a leaf of the tree, made anew from what the docs say.
pub(super) fn leaf_bytes(message: &Message) -> Vec<u8> {
    let headers = ["Audit-Id", "Audit-Lost", "Audit-Requeued", "Audit-Run"];
    let line = |name| Some(format!("{name}: {}\n", message.header(name)?));
    let lines: String = headers.into_iter().filter_map(line).collect();
    let subject = message.subject.strip_prefix("assembly.audit.").unwrap();
    let leaf = format!("{lines}Subject: {subject}\n\n");
    [leaf.as_bytes(), &message.payload].concat()
}

#[test]
fn a_publisher_that_is_not_there_or_that_nobody_knows_is_found() {
    let (trail, key) = signed_trail();
    let (_, other) = generate_key(
        &mut rand_core::OsRng,
        "spillring/01a21a2e-6a9f-703a-a491-da9c311ae493",
    );
    let server = stream_of(&trail);
    let verdict = Auditor::knowing(&[&key, &other]).judge(&server.url());
    assert_forged(&verdict, &["publisher_missing"]);
    let verdict = Auditor::knowing(&[&other]).judge(&server.url());
    assert_forged(&verdict, &["publisher_missing", "publisher_unknown"]);
}

/// A tail that is cut off together with its checkpoints, and a stream that is put back, look like a publisher that
/// wrote no more.
#[test]
fn an_old_state_is_found_if_an_audit_has_seen_a_newer_one() {
    let (trail, key) = signed_trail();
    let at = places(&trail);
    let auditor = Auditor::knowing(&[&key]);
    let old = stream_of(&trail[..at[30] - 1]);
    assert_eq!(auditor.judge(&old.url()).authentic(), "yes");
    auditor.audit(&old.url());
    let new = stream_of(&trail);
    auditor.audit(&new.url());
    assert_forged(&auditor.judge(&old.url()), &["rolled_back"]);
    assert_eq!(auditor.judge(&new.url()).authentic(), "yes");
}

/// The publisher goes on after an old state: the entries in between were there at the last audit.
#[test]
fn a_fork_is_found_if_an_audit_has_seen_the_other_branch() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..10));
    run.end();
    let old = read_stream(&server.url(), "AUDIT");
    let mut run = publisher.start_on(&server);
    run.publish(entries(10..20));
    run.end();
    let auditor = Auditor::knowing(&[&publisher.key()]);
    auditor.audit(&server.url());
    let restored = stream_with(&old, |config| {
        "assembly.cursor.>".clone_into(&mut config.subjects[1]);
        config.allow_direct = true;
    });
    let mut run = publisher.start_on(&restored);
    run.publish(entries(20..35));
    run.end();
    let verdict = auditor.judge(&restored.url());
    assert_forged(&verdict, &["forked"]);
}
