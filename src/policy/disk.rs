//! Which order the disk gets, and when the ring is drawn for it.

use super::{
    APPENDS_IN_A_ROW_MAX, Availability, Cap, DiskStep, Drawn, Due, End, Facts, Flush, Front, LATE,
    RingFacts, RunsOpen, Staged, Step, Unread, Unspilled,
};

impl Facts {
    /// The next step of a free disk. Drawing comes first if an append would otherwise carry nothing of the ring.
    pub(super) fn order(&self) -> Option<Step> {
        if self.disk.order_since.is_some() {
            return None;
        }
        self.blocking()
            .or_else(|| self.late())
            .or_else(|| self.take_turns())
            .or_else(|| self.idle())
    }

    /// Orders without which the sink or the ring cannot continue.
    fn blocking(&self) -> Option<Step> {
        if !self.can_write() {
            return None;
        }
        let batch_waits = match self.runs {
            RunsOpen::Yes => false,
            RunsOpen::NotYet(_) => self.sink_ready() && self.staged != Staged::Nothing,
            RunsOpen::SentAnyway => true,
        };
        if self.disk.identity == Due::Now {
            Some(Step::Disk(DiskStep::RenewIdentity))
        } else if batch_waits {
            Some(Step::Disk(DiskStep::OpenRuns))
        } else if self.disk.turn_over == Due::Now {
            Some(Step::Disk(DiskStep::TurnOver))
        } else if self.disk.renumber == Due::Now {
            Some(Step::Disk(DiskStep::Renumber))
        } else {
            None
        }
    }

    /// Orders that nobody waits for, once they were put off for long enough.
    fn late(&self) -> Option<Step> {
        let settle_late = self
            .disk
            .settle_since
            .is_some_and(|since| self.now >= since + LATE);
        if settle_late && self.can_keep_up() {
            Some(Step::Disk(DiskStep::Settle))
        } else if self.now >= self.disk.tick_at + LATE {
            Some(Step::Disk(DiskStep::Tick))
        } else {
            None
        }
    }

    fn take_turns(&self) -> Option<Step> {
        match (self.advance(), self.spill()) {
            (None, spill) => spill,
            (_, Some(spill)) if self.appends_in_a_row < self.turns() => Some(spill),
            (advance, _) => advance,
        }
    }

    fn idle(&self) -> Option<Step> {
        if self.flush == Flush::Check && self.can_keep_up() {
            Some(Step::Disk(DiskStep::Check))
        } else if self.disk.settle_since.is_some() && self.can_keep_up() {
            Some(Step::Disk(DiskStep::Settle))
        } else if self.now >= self.disk.tick_at {
            Some(Step::Disk(DiskStep::Tick))
        } else {
            None
        }
    }

    /// The step that advances the front of the backlog.
    fn advance(&self) -> Option<Step> {
        if self.can_dead_letter() {
            Some(Step::Disk(DiskStep::DeadLetter))
        } else if self.can_read() {
            Some(Step::Disk(DiskStep::Read))
        } else {
            None
        }
    }

    /// Not while the sink has, or may have, an earlier record.
    fn can_dead_letter(&self) -> bool {
        self.front == Front::DeadLetter
            && self.sink != Availability::Busy
            && self.question == Due::No
            && self.disk.identity == Due::No
            && self.can_write()
    }

    pub(super) fn can_read(&self) -> bool {
        self.unread == Unread::Rows
            && self.staged != Staged::Full
            && self.disk.order_since.is_none()
            && self.disk.reads.ready(self.now)
    }

    fn can_write(&self) -> bool {
        self.disk.writes.ready(self.now)
    }

    fn can_keep_up(&self) -> bool {
        self.disk.upkeep.ready(self.now)
    }

    fn turns(&self) -> u32 {
        if self.ring == RingFacts::High {
            APPENDS_IN_A_ROW_MAX
        } else {
            1
        }
    }

    /// The step that spills entries that are in memory only, if it is wanted and the disk can take them.
    fn spill(&self) -> Option<Step> {
        match self.disk.cap {
            Cap::Room if self.spill_wanted() && self.can_write() => self.append(),
            Cap::Evictable if self.spill_urgent() => self.make_room(),
            Cap::Room | Cap::Evictable | Cap::Full | Cap::Absent => None,
        }
    }

    /// What the sink has goes first.
    fn make_room(&self) -> Option<Step> {
        if self.disk.settle_since.is_some() && self.can_keep_up() {
            return Some(Step::Disk(DiskStep::Settle));
        }
        self.can_write().then_some(Step::Disk(DiskStep::Evict))
    }

    fn append(&self) -> Option<Step> {
        if self.drawn == Drawn::Nothing && self.can_pop() {
            return Some(Step::Draw);
        }
        (self.memory == Unspilled::Waiting).then_some(Step::Disk(DiskStep::Append))
    }

    /// Fills the next chunk while the disk is busy or rests.
    pub(super) fn draw_ahead(&self) -> Option<Step> {
        let takes = matches!(self.disk.cap, Cap::Room | Cap::Absent);
        (takes && self.spill_wanted() && self.can_draw()).then_some(Step::Draw)
    }

    fn can_draw(&self) -> bool {
        self.drawn != Drawn::Chunk && self.can_pop()
    }

    fn spill_wanted(&self) -> bool {
        self.spill_urgent() || self.spill_useful()
    }

    /// Entries are about to be refused, or have been in memory only for too long. Nothing is evicted for less: the
    /// sink may be making room already.
    fn spill_urgent(&self) -> bool {
        let Some(since) = self.waiting_since else {
            return false;
        };
        let stuck = self.unread != Unread::None
            || self.front == Front::DeadLetter
            || self.disk.identity == Due::Now
            || !self.sink_ready();
        stuck && (self.ring == RingFacts::High || self.now >= since + self.pending_max)
    }

    /// A whole chunk waits after the backlog, or a flush that the sink does not complete.
    fn spill_useful(&self) -> bool {
        if self.waiting_since.is_none() {
            return false;
        }
        let after_backlog = self.unread != Unread::None;
        let not_taking = after_backlog
            || self.question == Due::Now
            || self.front == Front::DeadLetter
            || matches!(self.sink, Availability::RestsUntil(_) | Availability::Gone);
        let chunk = self.ring >= RingFacts::Chunk || self.drawn == Drawn::Chunk;
        (after_backlog && chunk) || (not_taking && self.flush == Flush::Wanted)
    }

    /// The end is overdue: everything goes to the disk. The cap no longer counts: keeping accepted entries comes
    /// first.
    pub(super) fn rescue(&self) -> Option<Step> {
        if self.disk.cap == Cap::Absent {
            return None;
        }
        let idle = self.disk.order_since.is_none();
        if idle && self.disk.turn_over == Due::Now && self.can_write() {
            Some(Step::Disk(DiskStep::TurnOver))
        } else if self.can_draw() {
            Some(Step::Draw)
        } else if idle && self.memory == Unspilled::Waiting && self.can_write() {
            Some(Step::Disk(DiskStep::Append))
        } else {
            None
        }
    }

    /// Everything is delivered or on disk: closes the books.
    pub(super) fn last_order(&self) -> Option<Step> {
        if self.disk.order_since.is_some() {
            return None;
        }
        let order = match self.disk.end {
            End::Done => return None,
            End::Noted => DiskStep::Tick,
            End::Unnoted if self.disk.settle_since.is_some() => {
                return self.can_keep_up().then_some(Step::Disk(DiskStep::Settle));
            }
            End::Unnoted if self.disk.renumber == Due::Now => DiskStep::Renumber,
            End::Unnoted if self.runs == RunsOpen::SentAnyway => DiskStep::OpenRuns,
            End::Unnoted => DiskStep::End,
        };
        (order == DiskStep::Tick || self.can_write()).then_some(Step::Disk(order))
    }
}
