//! The tables, in Markdown.

use crate::line::{Figures, Side};
use crate::{Row, Spread, Times};

pub(crate) fn print(rows: &[Row]) {
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

/// Over all rounds: an entry that went missing in one of them is missing here.
fn counts(rows: &[Row]) {
    println!("\n| in the stream at the end | | published | arrived | in order |");
    println!("| --- | --- | --- | --- | --- |");
    let mut before = "";
    for row in rows {
        let mut sum = (0, 0, true);
        for figures in &row.rounds {
            if let Figures::Count {
                published,
                arrived,
                in_order,
            } = figures
            {
                sum = (sum.0 + published, sum.1 + arrived, sum.2 && *in_order);
            }
        }
        if sum.0 > 0 {
            println!(
                "| {} | {} | {} | {} | {} |",
                once(&row.condition, &mut before),
                row.name(),
                number(sum.0 as f64),
                number(sum.1 as f64),
                if sum.2 { "yes" } else { "no" }
            );
        }
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

/// To three digits at most, with commas between thousands.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
