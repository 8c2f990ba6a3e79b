//! Collects the lines of all rounds into tables in Markdown, a JSON file and a plot: `versus-report FOLDER`, which
//! holds `rounds.jsonl` and gets `versus.json` and `publish.svg`.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

#[allow(dead_code, reason = "the sides write the lines that are read here")]
#[path = "../../common/line.rs"]
mod line;
mod plot;
mod table;

use std::path::PathBuf;

use serde::Serialize;

use line::{Figures, Line, Side};

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// One way of doing one thing, over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) condition: String,
    pub(crate) side: Side,
    pub(crate) how: String,
    pub(crate) rounds: Vec<Figures>,
}

/// The service times of a row.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50: Spread,
    pub(crate) p99: Spread,
    pub(crate) p999: Spread,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    row: &'a Row,
    times: Option<Times>,
    per_second: Option<Spread>,
}

fn main() {
    let folder: PathBuf = std::env::args_os().nth(1).expect("a folder").into();
    let text = std::fs::read_to_string(folder.join("rounds.jsonl")).expect("what was measured");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of one of the sides"));
    let rows = rows(lines);
    let summaries: Vec<_> = rows.iter().map(Summary::of).collect();
    let json = serde_json::to_string_pretty(&summaries).expect("JSON");
    std::fs::write(folder.join("versus.json"), json).expect("the folder can be written to");
    plot::draw(&rows, &folder.join("publish.svg"));
    table::print(&rows);
}

/// One row for equal lines of all rounds. Conditions keep the order of their first lines; the original comes first.
fn rows(lines: impl Iterator<Item = Line>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    for line in lines {
        if !conditions.contains(&line.condition) {
            conditions.push(line.condition.clone());
        }
        let same = rows.iter_mut().find(|row| {
            row.condition == line.condition && row.side == line.side && row.how == line.how
        });
        match same {
            Some(row) => row.rounds.push(line.figures),
            None => rows.push(Row {
                condition: line.condition,
                side: line.side,
                how: line.how,
                rounds: vec![line.figures],
            }),
        }
    }
    let place = |row: &Row| {
        let condition = conditions.iter().position(|it| *it == row.condition);
        (condition, row.side)
    };
    rows.sort_by_key(place);
    rows
}

impl Row {
    pub(crate) fn times(&self) -> Option<Times> {
        let all: Option<Vec<_>> = self
            .rounds
            .iter()
            .map(|figures| match figures {
                Figures::Latency {
                    count,
                    p50,
                    p99,
                    p999,
                    ..
                } => Some([*count, *p50, *p99, *p999]),
                _ => None,
            })
            .collect();
        let all = all?;
        let spread = |place: usize| Spread::of(all.iter().map(|times| times[place] as f64));
        Some(Times {
            count: all.iter().map(|times| times[0]).sum(),
            p50: spread(1),
            p99: spread(2),
            p999: spread(3),
        })
    }

    pub(crate) fn per_second(&self) -> Option<Spread> {
        let all: Option<Vec<_>> = self
            .rounds
            .iter()
            .map(|figures| match figures {
                Figures::Rate { per_second, .. } => Some(*per_second),
                _ => None,
            })
            .collect();
        Some(Spread::of(all?.into_iter()))
    }

    pub(crate) fn name(&self) -> String {
        format!("{}, {}", self.side.name(), self.how)
    }
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Spillring => "spillring",
        }
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: values[values.len() / 2],
            least: values[0],
            most: values[values.len() - 1],
        }
    }
}

impl<'a> Summary<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            row,
            times: row.times(),
            per_second: row.per_second(),
        }
    }
}
