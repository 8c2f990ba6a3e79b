//! What a stream lets go of by itself, and which of its messages are gone without that.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, State};

use super::judge::Head;

/// How far the clocks of publishers may be ahead of ours.
const CLOCKS_MS: u64 = 600_000;
/// A stream that is let grow up to so many bytes is full while it has at least so many eighths of them.
const FULL_EIGHTHS: u64 = 7;
/// Or while less than this is free: the next message may not have fitted.
const FREE_BYTES: u64 = 2 << 20;

/// Whether its beginning may be gone without anybody's doing.
pub(super) fn head(config: &Config, state: &State, now_ms: u64) -> Head {
    let first = config.first_sequence.unwrap_or(1).max(1);
    // What it was made from may have let go of something before.
    let is_copy = config.mirror.is_some()
        || config
            .sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty());
    if lets_go_anywhere(config) || is_copy || state.first_sequence > first && is_full(config, state)
    {
        return Head::MayBeGone { kept_from_ms: None };
    }
    if state.first_sequence <= first || config.max_age.is_zero() {
        return Head::Kept;
    }
    let age = u64::try_from(config.max_age.as_millis()).unwrap_or(u64::MAX);
    Head::MayBeGone {
        kept_from_ms: Some(now_ms.saturating_sub(age) + CLOCKS_MS),
    }
}

/// Stretches of messages that are gone from its middle or its end, although it removes its oldest ones only.
pub(super) fn gone(config: &Config, state: &State) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    if lets_go_anywhere(config) {
        return stretches;
    }
    let held = state.first_sequence.max(1)..=state.last_sequence;
    let deleted = state.deleted.iter().flatten();
    for &sequence in deleted.filter(|sequence| held.contains(sequence)) {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => stretches.push((sequence, sequence)),
        }
    }
    stretches
}

/// Not its oldest messages only. The first versions of spillring replaced cursors by rollups.
fn lets_go_anywhere(config: &Config) -> bool {
    config.retention != RetentionPolicy::Limits
        || config.max_messages_per_subject > 0
        || config.allow_rollup
        || config.allow_message_ttl
        || config.mirror.is_some()
}

fn is_full(config: &Config, state: &State) -> bool {
    let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
    let by_count = limit(config.max_messages).is_some_and(|max| state.messages >= max);
    let by_bytes = limit(config.max_bytes).is_some_and(|max| {
        let full = (max / 8 * FULL_EIGHTHS)
            .min(max.saturating_sub(FREE_BYTES))
            .max(max / 2);
        state.bytes >= full
    });
    config.discard == DiscardPolicy::Old && (by_count || by_bytes)
}
