//! What is kept in each transaction, so that nothing is ever counted by scanning.

/// How much is in the spill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Entries of the backlog.
    pub(crate) entries: u64,
    /// What they count for, as [`Record::size`](crate::event::Record::size) has it.
    pub(crate) bytes: u64,
    /// Dead letters that are kept.
    pub(crate) dead_letters: u64,
    /// What they count for.
    pub(crate) dead_letter_bytes: u64,
    /// Stretches of losses between the entries, not single losses.
    pub(crate) losses: u64,
}
