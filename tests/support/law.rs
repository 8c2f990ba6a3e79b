//! The law of conservation, asserted after every scenario.

use spillring::Stats;

/// Asserts that every entry is accounted for, and every attempt: `attempted` calls were made in this run.
#[track_caller]
pub fn assert_law(stats: &Stats, attempted: u64) {
    assert_eq!(
        stats.entered(),
        stats.accounted(),
        "entries are missing or doubled: {stats:#?}"
    );
    assert_eq!(
        attempted,
        stats.accepted + stats.returned + stats.lost.total(),
        "attempts are missing or doubled: {stats:#?}"
    );
}
