//! Promise: what is in `deploy/` is what it claims to be, as the tools of those who read it judge, and asks for metrics
//! that are really served. A tool that cannot be had is named as skipped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::bench::{Bench, SESSIONS, Said, wait_for};
use super::serving::Serving;
use test_support::child::Process;
use test_support::skipped::skipped;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// A tool, which `deploy/tool` finds or fetches.
fn tool(name: &str) -> Option<Command> {
    let found = Command::new(deploy("tool")).arg(name).output().unwrap();
    if found.status.success() {
        let path = String::from_utf8(found.stdout).unwrap();
        return Some(Command::new(path.trim()));
    }
    let said = String::from_utf8_lossy(&found.stderr);
    let why = said.lines().next_back().unwrap_or("nobody says why");
    skipped(&format!("{name}: {why}"));
    None
}

#[track_caller]
fn satisfied(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} says {out}{err}");
    output
}

/// What a publisher serves after an outage and its end.
fn served(bench: &Bench) -> String {
    let mut serving = Serving::start(bench, &["--sink", "jsonl:later/out"]);
    serving.publish(&fs::read(SESSIONS).unwrap());
    serving.when("/metrics", |metrics| {
        metrics.body.contains("\naa_audit_spill_entries 2000\n")
    });
    fs::create_dir(bench.path("later")).unwrap();
    serving.delivered(2_000)
}

/// The words of an expression that may be names of ours.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("aa_"))
}

/// The expressions of the dashboard's panels, with Grafana's variables filled in.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| {
            let expression = target["expr"].as_str().unwrap();
            ["$__rate_interval", "$__range"]
                .iter()
                .fold(expression.to_owned(), |text, variable| {
                    text.replace(variable, "5m")
                })
        })
        .collect()
}

#[test]
fn alerts_and_dashboard_ask_for_what_is_served() {
    let bench = Bench::new();
    let metrics = served(&bench);
    let served: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let (alerts, dashboard) = (read("alerts.yml"), read("dashboard.json"));
    for (file, text) in [("alerts.yml", &alerts), ("dashboard.json", &dashboard)] {
        let asked: BTreeSet<_> = named(text).collect();
        assert!(asked.len() > 5, "{file}: {asked:?}");
        // Served from the first change on.
        let missing = asked.difference(&served);
        let missing: Vec<_> = missing
            .filter(|name| **name != "aa_audit_stream_changes_total")
            .collect();
        assert!(missing.is_empty(), "{file}: nothing serves {missing:?}");
    }
    // States and reasons are labels that exist, too.
    for label in ["spill_full", "disk_away"] {
        assert!(alerts.contains(label) && metrics.contains(&format!("state=\"{label}\"")));
    }

    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    bench.write("metrics", &metrics);
    let input = fs::File::open(bench.path("metrics")).unwrap();
    let checked = promtool
        .args(["check", "metrics"])
        .stdin(input)
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    // 3: the format is right, and some names are not as it would have them.
    assert!(
        [Some(0), Some(3)].contains(&checked.status.code()),
        "{said}"
    );
    let unknown: Vec<_> = said.lines().filter(|line| !is_known(line)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The one name that is Agent Assembly's own, and that its dashboards know.
fn is_known(complaint: &str) -> bool {
    complaint.starts_with("aa_events_buffered counter metrics should have \"_total\" suffix")
}

#[test]
fn the_alerts_fire_when_they_must() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    satisfied(promtool.args(["check", "rules"]).arg(deploy("alerts.yml")));
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    satisfied(
        promtool
            .args(["test", "rules"])
            .arg(deploy("alerts.test.yml")),
    );
    // Each alert has a case in which it fires.
    let (alerts, tests) = (read("alerts.yml"), read("alerts.test.yml"));
    let names = alerts
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    for (_, name) in names {
        let case =
            format!("        alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&case), "nothing makes {name} fire");
    }
}

#[test]
fn the_dashboard_asks_in_promql_and_its_panels_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{panel} covers another one");
            }
        }
    }
    let bench = Bench::new();
    let rules: Vec<_> = expressions()
        .into_iter()
        .enumerate()
        .map(|(n, expr)| serde_json::json!({ "record": format!("panel:{n}"), "expr": expr }))
        .collect();
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    // JSON is YAML.
    bench.write("rules.yml", &rules.to_string());
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    satisfied(
        promtool
            .args(["check", "rules"])
            .arg(bench.path("rules.yml")),
    );
}

#[test]
fn systemd_takes_the_units() {
    let Some(mut verify) = tool("systemd-analyze") else {
        return;
    };
    let bench = Bench::new();
    let unit = read("spillring.service");
    let installed = "ExecStart=/usr/bin/spillring ";
    assert!(unit.contains(installed));
    let binary = format!("ExecStart={} ", env!("CARGO_BIN_EXE_spillring"));
    bench.write("spillring.service", &unit.replace(installed, &binary));
    bench.write("spillring.socket", &read("spillring.socket"));
    let units = ["spillring.service", "spillring.socket"].map(|name| bench.path(name));
    let said = satisfied(
        verify
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .args(&units),
    );
    // It only warns of a setting that it does not know.
    let said = String::from_utf8(said.stderr).unwrap();
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("spillring"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");

    let Some(mut security) = tool("systemd-analyze") else {
        return;
    };
    // Tenths, of 100: below 30 it says OK.
    satisfied(
        security
            .args(["security", "--offline=yes", "--threshold=25"])
            .arg(&units[0]),
    );
}

/// The words of an instruction in exec form, the last one of this name.
fn words(dockerfile: &str, instruction: &str) -> Vec<String> {
    let joined = dockerfile.replace("\\\n", " ");
    let line = joined
        .lines()
        .rfind(|line| line.starts_with(instruction))
        .unwrap();
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_image_starts_a_publisher_that_its_health_check_finds_healthy() {
    let dockerfile = read("Dockerfile");
    let bench = Bench::new();
    let here = |word: &String| match word.as_str() {
        "nats" => "jsonl:out".to_owned(),
        "0.0.0.0:9464" => "127.0.0.1:0".to_owned(),
        path => path.replace("/var/lib/spillring/", ""),
    };
    assert_eq!(words(&dockerfile, "ENTRYPOINT"), ["spillring"]);
    let start: Vec<_> = words(&dockerfile, "CMD").iter().map(here).collect();
    let check: Vec<_> = words(&dockerfile, "HEALTHCHECK").iter().map(here).collect();
    assert_eq!(check[0], "spillring");
    let start: Vec<_> = start.iter().map(String::as_str).collect();
    let check: Vec<_> = check[1..].iter().map(String::as_str).collect();
    assert_eq!(bench.run(&check).code, Some(1));
    let serving = Serving::spawn(&mut bench.command(&start));
    wait_for(|| (bench.run(&check).code == Some(0)).then_some(())).expect("it is healthy");
    drop(serving);
    assert_eq!(bench.run(&check).code, Some(1));

    let Some(mut hadolint) = tool("hadolint") else {
        return;
    };
    satisfied(hadolint.arg(deploy("Dockerfile")));
}

/// As the socket unit does: the service reads on although every writer has gone.
#[test]
fn a_pipe_that_the_service_manager_keeps_open_has_no_end() {
    let bench = Bench::new();
    let pipe = bench.path("fifo");
    satisfied(Command::new("mkfifo").arg(&pipe));
    let mut options = fs::OpenOptions::new();
    let kept = options.read(true).write(true).open(&pipe).unwrap();
    let mut command = bench.command(&["run", "--spill", "spill", "--sink", "jsonl:out"]);
    let child = Process::from(command.stdin(Stdio::from(kept)).spawn().unwrap());
    let sessions = fs::read_to_string(SESSIONS).unwrap();
    for (n, line) in sessions.lines().take(3).enumerate() {
        fs::write(&pipe, line.to_owned() + "\n").unwrap();
        bench.status_when(|status| status["stats"]["delivered"] == n + 1);
    }
    child.signal(rustix::process::Signal::TERM);
    Said::of(child).assert_code(0);
}
