//! Patterns of subjects, as in streams and permissions.

use crate::config::NatsConfig;

/// The subjects of entries.
pub(super) fn entries(config: &NatsConfig) -> String {
    format!("{}.>", config.subject_prefix)
}

/// The subjects of cursors.
pub(super) fn cursors(config: &NatsConfig) -> String {
    format!("{}.>", config.cursor_prefix)
}

/// Whether all subjects of the pattern `inner` are subjects of the pattern `outer`.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether some subject fits both patterns.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_and_overlap() {
        let table = [
            ("a.b.>", "a.b.>", true, true),
            (">", "a.b.>", true, true),
            ("a.>", "a.b.>", true, true),
            ("a.*.>", "a.b.>", true, true),
            ("a.b.*.*", "a.b.>", false, true),
            ("a.b.c", "a.b.>", false, true),
            ("a.b", "a.b.>", false, false),
            ("a.c.>", "a.b.>", false, false),
            ("a.b.c.>", "a.b.>", false, true),
        ];
        for (theirs, ours, covering, overlapping) in table {
            assert_eq!(covers(theirs, ours), covering, "{theirs} covers {ours}");
            assert_eq!(
                overlap(theirs, ours),
                overlapping,
                "{theirs} overlaps {ours}"
            );
        }
    }
}
