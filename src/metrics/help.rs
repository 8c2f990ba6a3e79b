//! Help texts of the metrics, for recorders that serve them. Each line is a name and its help.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: &str = "\
aa_audit_accepted_total Entries accepted into the ring
aa_audit_delivered_total Entries acknowledged by the sink
aa_audit_published_total Entries acknowledged by the sink without having been spilled
aa_audit_publish_errors_total Failed deliveries and position queries
aa_audit_buffered_total Entries written to the spill
aa_events_buffered Agent Assembly's name for aa_audit_buffered_total
aa_audit_flushed_total Entries delivered from the spill
aa_events_flushed_total Agent Assembly's name for aa_audit_flushed_total
aa_events_dropped_total Agent Assembly's name for aa_audit_dropped_total with the reason spill_evicted
aa_audit_dropped_total Entries lost, by reason
aa_audit_dead_lettered_total Entries moved to the dead letters, by reason
aa_audit_returned_total Attempts to publish that handed the entry back
aa_audit_spill_quarantines_total Damaged segments and indexes set aside
aa_audit_clones_total Times that the spill directory was found to be a copy
aa_audit_stream_changes_total Changes of the NATS stream that weaken delivery guarantees, by kind
aa_audit_late_resends_total Times that entries in doubt were sent again after the stream's duplicate window
";

const GAUGES: &str = "\
aa_audit_state 1 for the publisher's present state, 0 for the others
aa_audit_sink_up 1 if the sink worked when it was last used
aa_audit_ring_entries Entries in the ring
aa_audit_ring_bytes Bytes held by the entries in the ring
aa_audit_spill_entries Entries in the spill
aa_audit_spill_bytes Bytes of the entries in the spill
aa_audit_spill_bytes_max Bytes that entries and dead letters in the spill may have together
aa_audit_spill_seconds_until_full Time until the spill is full at its average growth of the last half minute
aa_audit_oldest_entry_age_seconds How long the oldest entry has waited for the sink
";

const HISTOGRAMS: &str = "\
aa_audit_delivery_seconds Time from sending a batch to its acknowledgement
aa_audit_batch_entries Entries per batch
aa_audit_spill_append_seconds Time of a transaction that writes entries to the spill
";

/// Hands every help text to the recorder. Cheap enough to repeat with each report, for recorders installed late.
pub(super) fn describe() {
    for (name, help) in table(COUNTERS) {
        describe_counter!(name, help);
    }
    for (name, help) in table(GAUGES) {
        describe_gauge!(name, help);
    }
    for (name, help) in table(HISTOGRAMS) {
        let seconds = name.ends_with("_seconds");
        let unit = if seconds { Unit::Seconds } else { Unit::Count };
        describe_histogram!(name, unit, help);
    }
}

fn table(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().filter_map(|line| line.split_once(' '))
}
