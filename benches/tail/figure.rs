//! What came out, and how it is reported: tables that read as they are and as Markdown, JSON, and plots.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use quanta::Clock;
use serde_json::{Value, json};

use crate::lane::{Receipts, Role};
use crate::machine::{Machine, Noise};
use crate::plot::plot;
use crate::times::{GROUP, Latencies, Shape, Times, latencies};

/// The quantiles of the tables, and their names.
const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

/// What came out of one candidate under one condition.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// From before a call to after it, or of so many calls together.
    pub(crate) service: Latencies,
    calls: u64,
    /// From when a call should have begun to after it; of shapes with a schedule only.
    open: Latencies,
    /// From before a call until the receiver had the entry.
    received: Latencies,
    /// What the receiver's threads used, and for how many entries.
    cpu: Duration,
    cpu_entries: usize,
    noise: Option<Noise>,
    /// How many calls were refused, where that is what is looked at.
    pub(crate) refused: Option<u64>,
}

impl Row {
    pub(crate) fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            service: latencies(),
            calls: 1,
            open: latencies(),
            received: latencies(),
            cpu: Duration::ZERO,
            cpu_entries: 0,
            noise: None,
            refused: None,
        }
    }

    pub(crate) fn add(
        &mut self,
        clock: &Clock,
        shape: Shape,
        times: &Times,
        receipts: Option<&Receipts>,
    ) {
        if shape == Shape::Grouped {
            self.calls = GROUP as u64;
            let groups = times.calls.iter().map(|group| group.service(clock));
            groups.for_each(|span| self.service.saturating_record(span));
            return;
        }
        for call in &times.calls {
            self.service.saturating_record(call.service(clock));
            if shape != Shape::Saturated {
                self.open.saturating_record(call.open(clock, times.start));
            }
        }
        let received = receipts.into_iter().flat_map(Receipts::times);
        for (call, received) in times.calls.iter().zip(received) {
            let taken = clock.delta_as_nanos(call.before, received.max(call.before));
            self.received.saturating_record(taken);
        }
    }

    pub(crate) fn add_cpu(&mut self, cpu: Duration, entries: usize) {
        self.cpu += cpu;
        self.cpu_entries += entries;
    }

    pub(crate) fn add_noise(&mut self, noise: Noise) {
        self.noise.get_or_insert_default().add(noise);
    }

    pub(crate) fn merge(&mut self, service: &Latencies) {
        self.service.add(service).expect("equal bounds");
    }

    fn cpu_each(&self) -> Option<u64> {
        let entries = u128::try_from(self.cpu_entries).ok()?;
        let each = self.cpu.as_nanos().checked_div(entries)?;
        u64::try_from(each).ok().filter(|each| *each > 0)
    }

    /// A service time, no finer than the clock's step; of a group the mean of its calls.
    fn shown(&self, quantile: f64, step: u64) -> String {
        let span = self.service.value_at_quantile(quantile);
        if self.calls > 1 {
            format!("{:.1}", span as f64 / self.calls as f64)
        } else if span <= step {
            format!("≤ {step}")
        } else {
            ns((span + step / 2) / step * step)
        }
    }

    fn json(&self) -> Value {
        let at = |of: &Latencies| -> Value {
            if of.is_empty() {
                return Value::Null;
            }
            let named = QUANTILES.map(|(name, quantile)| (name.to_owned(), quantile));
            named
                .into_iter()
                .map(|(name, quantile)| (name, of.value_at_quantile(quantile)))
                .collect()
        };
        json!({
            "name": self.name,
            "samples": self.service.len(),
            "calls_in_a_sample": self.calls,
            "refused": self.refused,
            "service_ns": at(&self.service),
            "open_ns": at(&self.open),
            "received_ns": at(&self.received),
            "receiver_cpu_ns_per_entry": self.cpu_each(),
            "publisher": self.noise,
        })
    }
}

/// A part of the bench: prints each figure as it comes, draws it, and at the end writes all of them down.
#[derive(Debug)]
pub(crate) struct Part {
    name: &'static str,
    machine: Machine,
    figures: Vec<Value>,
}

impl Part {
    pub(crate) fn new(name: &'static str, machine: &Machine) -> Self {
        Self {
            name,
            machine: machine.clone(),
            figures: Vec::new(),
        }
    }

    /// Prints a figure; `slug` ends the name of its plot.
    pub(crate) fn figure(&mut self, title: &str, slug: &str, rows: &[Row]) {
        let title = format!("{}: {title}", self.name);
        println!("\n{title}: service time, ns\n");
        print_table(&service_table(rows, self.machine.clock_step_ns));
        if let Some(beside) = beside_table(rows) {
            println!("\n{title}: beside it\n");
            print_table(&beside);
        }
        if rows.iter().all(|row| row.calls == 1) {
            let path = out(&format!("{}-{slug}.svg", self.name));
            plot(&path, &title, rows);
            println!("\nplot: {}", shown(&path));
        }
        self.figures.push(json!({
            "title": title,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        }));
    }

    /// Writes all figures of the part to one file.
    pub(crate) fn finish(self) {
        let path = out(&format!("{}.json", self.name));
        let all = json!({ "part": self.name, "machine": self.machine, "figures": self.figures });
        let text = serde_json::to_string_pretty(&all).expect("plain values");
        fs::write(&path, text + "\n").expect("a file in the build's folder");
        println!("\nall of it: {}", shown(&path));
    }
}

/// A file of `target/tail`.
fn out(name: &str) -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = tmp.parent().expect("the build's folder").join("tail");
    fs::create_dir_all(&dir).expect("a folder in the build's");
    dir.join(name)
}

/// The path as the reader knows it.
fn shown(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("target/tail/{name}")
}

type Table = Vec<Vec<String>>;

/// Nothing in it is finer than the clock's step.
fn service_table(rows: &[Row], step: u64) -> Table {
    let bare = rows.iter().find(|row| row.role == Role::Bare);
    let ours = rows.iter().find(|row| row.role == Role::Ours);
    let mut head = vec![String::new(), "samples".to_owned()];
    head.extend(QUANTILES.map(|(name, _)| name.to_owned()));
    for (other, name) in [(bare, "bare"), (ours, "ours")] {
        if other.is_some() {
            head.push(format!("p50, p99, p99.9 / {name}"));
        }
    }
    let mut table = vec![head];
    for row in rows {
        let mut cells = vec![row.name.clone(), grouped(row.service.len())];
        cells.extend(QUANTILES.map(|(_, quantile)| row.shown(quantile, step)));
        for other in [bare, ours].into_iter().flatten() {
            let ratio = |quantile| {
                let [its, others] = [row, other].map(|row| row.service.value_at_quantile(quantile));
                format!("{:.2}", its as f64 / others.max(1) as f64)
            };
            cells.push(match row.role {
                Role::Floor => String::new(),
                _ => [0.5, 0.99, 0.999].map(ratio).join(", "),
            });
        }
        table.push(cells);
    }
    table
}

/// What else there is to know, in columns that anything is known for.
fn beside_table(rows: &[Row]) -> Option<Table> {
    type Cell = fn(&Row) -> Option<String>;
    fn at(of: &Latencies, quantile: f64) -> Option<String> {
        (!of.is_empty()).then(|| ns(of.value_at_quantile(quantile)))
    }
    let columns: [(&str, Cell); 11] = [
        ("open loop p50", |row| at(&row.open, 0.5)),
        ("p99", |row| at(&row.open, 0.99)),
        ("p99.9", |row| at(&row.open, 0.999)),
        ("p99.99", |row| at(&row.open, 0.9999)),
        ("max", |row| at(&row.open, 1.0)),
        ("received p50", |row| at(&row.received, 0.5)),
        ("received p99", |row| at(&row.received, 0.99)),
        ("receiver CPU/entry", |row| row.cpu_each().map(ns)),
        ("refused", |row| row.refused.map(grouped)),
        ("switches", |row| Some(row.noise?.switches.to_string())),
        ("steal ms", |row| Some(row.noise?.steal_ms.to_string())),
    ];
    let known: Vec<_> = columns
        .into_iter()
        .filter(|(_, cell)| rows.iter().any(|row| cell(row).is_some()))
        .collect();
    let mut head = vec![String::new()];
    head.extend(known.iter().map(|(name, _)| (*name).to_owned()));
    let mut table = vec![head];
    for row in rows {
        let mut cells = vec![row.name.clone()];
        cells.extend(known.iter().map(|(_, cell)| cell(row).unwrap_or_default()));
        table.push(cells);
    }
    (!known.is_empty()).then_some(table)
}

/// As Markdown, in columns.
pub(crate) fn print_table(table: &Table) {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..table[0].len())
        .map(|column| width(column).unwrap_or(0).max(3))
        .collect();
    for (place, row) in table.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if place == 0 {
            let rules: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
            println!("| {} |", rules.join(" | "));
        }
    }
}

/// Nanoseconds, or what is easier to read.
fn ns(value: u64) -> String {
    match value {
        0..100_000 => grouped(value),
        100_000..10_000_000 => format!("{} µs", grouped(value / 1_000)),
        _ => format!("{} ms", grouped(value / 1_000_000)),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
