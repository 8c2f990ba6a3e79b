//! The tables, in Markdown.

use crate::line::{Figures, Side, grouped};
use crate::{Row, Spread, Times};

/// What the tables do not say themselves.
const TERMS: &str = "\
The same 2,000 real entries over and over, the same server, the stream that Agent Assembly's gateway makes; the two in
turns. Service time: from before the call to after it, the cost of reading the clock included; p99.9 of a thousand calls
is the worst but one. The original has its own sink and buffer (`synchronous = NORMAL`) and, to its advantage, neither its
recorder of metrics nor its loop that looks at the backlog. With NATS down its next call comes as soon as the last
has returned: it cannot be called more often. spillring has its default settings; beyond the first thousand it is at the
same time writing up to 8,000 of the backlog to disk. Ratios are those to each row of the original, in their order.
Spilling: until `publish` has returned, or until all are flushed.
Replay: the original hands over without acknowledgement, spillring is timed from the first acknowledgement to the last.
Each figure is the median of the rounds, with the least and the most of them.";

pub(crate) fn print(rows: &[Row]) {
    println!("\n{TERMS}");
    times(rows);
    rates(rows);
    counts(rows);
}

fn times(rows: &[Row]) {
    println!("\n| `publish` | | calls | p50 | p99 | p99.9 | original / spillring, p50 |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let found: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.times()?)))
        .collect();
    let mut before = "";
    for (row, of_row) in &found {
        let theirs = found
            .iter()
            .filter(|(it, _)| it.condition == row.condition && it.side == Side::Original);
        let ratios: Vec<_> = theirs
            .map(|(_, theirs)| number(theirs.p50.median / of_row.p50.median.max(1.0)))
            .collect();
        let ratio = match row.side {
            Side::Original => String::new(),
            Side::Spillring => ratios.join("; "),
        };
        let Times {
            count,
            p50,
            p99,
            p999,
        } = of_row;
        println!(
            "| {} | {} | {} | {} | {} | {} | {ratio} |",
            once(&row.condition, &mut before),
            row.name(),
            number(*count as f64),
            spread(p50, time),
            spread(p99, time),
            spread(p999, time)
        );
    }
}

fn rates(rows: &[Row]) {
    println!("\n| entries a second | | rate | spillring / original |");
    println!("| --- | --- | --- | --- |");
    let found: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.per_second()?)))
        .collect();
    let mut before = "";
    for (row, rate) in &found {
        let theirs = found
            .iter()
            .find(|(it, _)| it.condition == row.condition && it.side == Side::Original);
        let ratio = match (row.side, theirs) {
            (Side::Spillring, Some((_, theirs))) => ratio(rate.median / theirs.median),
            _ => String::new(),
        };
        println!(
            "| {} | {} | {} | {ratio} |",
            once(&row.condition, &mut before),
            row.name(),
            spread(rate, number)
        );
    }
}

/// Over all rounds, whatever else was measured in them: an entry that went missing in one of them is missing here.
fn counts(rows: &[Row]) {
    println!("\n| in the stream at the end | | published | arrived | in order |");
    println!("| --- | --- | --- | --- | --- |");
    let mut sums: Vec<(&str, Side, u64, u64, bool)> = Vec::new();
    for row in rows {
        for figures in &row.rounds {
            if let Figures::Count {
                published,
                arrived,
                in_order,
            } = figures
            {
                let place = sums
                    .iter()
                    .position(|sum| sum.0 == row.condition && sum.1 == row.side);
                let place = place.unwrap_or_else(|| {
                    sums.push((&row.condition, row.side, 0, 0, true));
                    sums.len() - 1
                });
                let sum = &mut sums[place];
                sum.2 += published;
                sum.3 += arrived;
                sum.4 &= in_order;
            }
        }
    }
    let mut before = "";
    for (condition, side, published, arrived, in_order) in sums {
        println!(
            "| {} | {} | {} | {} | {} |",
            once(condition, &mut before),
            side.name(),
            grouped(published),
            grouped(arrived),
            if in_order { "yes" } else { "no" }
        );
    }
}

/// The name of a condition in its first row only.
fn once<'a>(condition: &'a str, before: &mut &'a str) -> &'a str {
    let name = if condition == *before { "" } else { condition };
    *before = condition;
    name
}

/// The median, and the least and the most of the rounds.
fn spread(spread: &Spread, tell: impl Fn(f64) -> String) -> String {
    let [median, least, most] = [spread.median, spread.least, spread.most].map(tell);
    if least == most {
        median
    } else {
        format!("{median} ({least}–{most})")
    }
}

pub(crate) fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        ..1e3 => (nanos, "ns"),
        ..1e6 => (nanos / 1e3, "µs"),
        _ => (nanos / 1e6, "ms"),
    };
    if value < 10.0 && unit != "ns" {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.1}")
    } else {
        number(ratio)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number, not below zero"
)]
fn number(value: f64) -> String {
    grouped(value.round() as u64)
}
