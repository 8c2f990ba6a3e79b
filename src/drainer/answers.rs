//! Judges the position that the sink has answered.

use std::sync::Arc;

use super::DrainLoop;
use crate::event::{Key, Position, PreviousRun, PublisherId, RunEnd, RunId};
use crate::host::log;
use crate::metrics::Metrics;
use crate::policy::Due;

/// The meaning of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The sink has everything up to here.
    Delivered(Key),
    /// This directory was restored from an older copy, or its disk took no writes for a while: before the current run
    /// came one that the directory does not know, and that one delivered everything the directory held.
    PutBack,
    /// Another process continues this publisher: this directory, or the machine, is a copy.
    Clone,
}

/// The facts for judging a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct PositionContext {
    pub(super) run: RunId,
    pub(super) local: u32,
    /// The last assigned number of the run.
    pub(super) last_n: u64,
    /// The place of the position, if it is of an earlier run of this directory.
    pub(super) earlier: Option<Key>,
    /// The newest run before this one.
    pub(super) newest: Option<RunId>,
    /// Whether anything of this run was sent.
    pub(super) sent_any: bool,
    /// When the newest entry that the spill held at the start was popped, if any.
    pub(super) inherited_until_ms: Option<u64>,
}

impl PositionContext {
    pub(super) fn judge(&self, position: Position) -> Meaning {
        if position.run == self.run {
            return if position.n <= self.last_n {
                Meaning::Delivered(Key::new(self.local, position.n))
            } else {
                Meaning::Clone
            };
        }
        if let Some(key) = self.earlier {
            return Meaning::Delivered(key);
        }
        // Ids of runs are ordered by the time of their start.
        let between = Some(position.run) > self.newest && position.run < self.run;
        // Entries that reached the directory after the unknown run had begun cannot have been delivered by it.
        let older = self.inherited_until_ms < Some(started_ms(position.run));
        if between && older && !self.sent_any {
            Meaning::PutBack
        } else {
            Meaning::Clone
        }
    }
}

/// When a run began, in milliseconds since 1970, from its id.
fn started_ms(run: RunId) -> u64 {
    let started = run.0.get_timestamp();
    started.map_or(0, |started| {
        let (seconds, nanos) = started.to_unix();
        seconds * 1_000 + u64::from(nanos) / 1_000_000
    })
}

impl DrainLoop {
    pub(super) fn answered(&mut self, position: Option<Position>) {
        self.requests.progress();
        let Some(position) = position else {
            return self.sink.became_known();
        };
        match self.context(&position).judge(position) {
            Meaning::Delivered(key) => self.settle_through(key),
            Meaning::PutBack => self.follow(position),
            Meaning::Clone => {
                // Nothing is sent until another id was taken.
                self.sink.stranger = Some(position);
                return;
            }
        }
        self.sink.became_known();
    }

    fn context(&self, position: &Position) -> PositionContext {
        let run = self.sequencer.run();
        PositionContext {
            run: run.id,
            local: run.local,
            last_n: self.sequencer.last_n(),
            earlier: self.runs.key_of(position),
            newest: self.runs.newest(),
            sent_any: self.sink.sent == Some(run.id),
            inherited_until_ms: self.inherited_until_ms,
        }
    }

    /// The sink has everything up to `key`. The spill must count the entries that were never in memory.
    fn settle_through(&mut self, key: Key) {
        let (spilled, unspilled) = self.pipeline.settle_through(key);
        if spilled.entries + unspilled > 0 {
            self.sink.signature = Due::Now;
        }
        self.counts.delivered += spilled.entries + unspilled;
        self.counts.replayed += spilled.entries;
        self.disk.settlement.add(spilled);
        self.disk.settlement.add_unknown();
    }

    /// Everything of earlier runs is delivered, and this run comes after one that the directory does not know.
    fn follow(&mut self, position: Position) {
        log::warning!(
            cursor = %position,
            "the sink has a run of this publisher that the spill directory does not know: the directory was restored \
             from an older copy, or its disk took no writes. What it held at the start counts as delivered"
        );
        self.settle_through(Key::new(self.sequencer.run().local, 0));
        self.sequencer.follow(PreviousRun {
            id: position.run,
            last: None,
            end: RunEnd::Killed,
        });
        let run = Arc::clone(self.sequencer.run());
        for record in self.pipeline.records_mut() {
            if record.run.id == run.id {
                record.run = Arc::clone(&run);
            }
        }
    }

    /// Another publisher id was taken: a clone of this directory uses the old one.
    pub(super) fn renewed(&mut self, publisher: PublisherId) {
        let old = std::mem::replace(&mut self.publisher, publisher);
        Metrics::cloned();
        if let Some(position) = self.sink.stranger.take() {
            log::warning!(
                %old, new = %publisher, cursor = %position,
                "the sink is ahead of this spill directory, so the directory is a copy. \
                 Continuing under a new publisher id"
            );
        }
        self.sequencer.rename(publisher);
        for record in self.pipeline.records_mut() {
            Arc::make_mut(&mut record.run).publisher = publisher;
        }
        self.sink.became_known();
    }
}

#[cfg(test)]
mod tests;
