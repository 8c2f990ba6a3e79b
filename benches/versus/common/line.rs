//! What a side finds out, one line of JSON each on standard output, for `report` to collect.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Original,
    Spillring,
}

/// One finding of one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) side: Side,
    /// What is compared: equal on both sides.
    pub(crate) condition: String,
    /// How this side does it.
    pub(crate) how: String,
    pub(crate) figures: Figures,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figures {
    /// Service times in nanoseconds.
    Latency {
        count: u64,
        p50: u64,
        p99: u64,
        p999: u64,
        max: u64,
    },
    /// Entries a second.
    Rate { entries: u64, per_second: f64 },
    /// What was published and what stands in the stream.
    Count {
        published: u64,
        arrived: u64,
        in_order: bool,
    },
}

impl Line {
    pub(crate) fn tell(self) {
        println!("{}", serde_json::to_string(&self).expect("JSON"));
    }
}

/// How many entries passed in how many seconds.
pub(crate) fn rate(entries: u64, seconds: f64) -> Figures {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_second = entries as f64 / seconds;
    Figures::Rate {
        entries,
        per_second,
    }
}

/// With commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
