//! The seals in the ledger.

use spillring::event::{Position, PublisherId};
use spillring::seal::Seal;

use super::FileReader;
use crate::verify::ledger::Range;
use crate::verify::seals::{Covers, Met};
use crate::verify::trail::TrailPlace;

impl FileReader {
    /// Takes the seal at the end of a range.
    pub(super) fn sealed(&mut self, line: u64, range: &Range) {
        let through = Position {
            run: range.run,
            n: range.last,
        };
        let seal = range.seal.as_ref();
        self.seal(line, range.publisher, seal, through, Covers::Before);
    }

    /// Takes a seal that was renewed while nothing was written.
    pub(super) fn renewed(&mut self, line: u64, publisher: PublisherId, seal: &Seal) {
        if let Some(run) = self.latest.get(&publisher).copied() {
            let n = self.written.get(&run).map_or(0, |written| written.last);
            let through = Position { run, n };
            self.seal(line, publisher, Some(seal), through, Covers::Before);
        }
    }

    pub(super) fn seal(
        &mut self,
        ledger_line: u64,
        publisher: PublisherId,
        seal: Option<&Seal>,
        through: Position,
        covers: Covers,
    ) {
        let met = Met {
            publisher,
            seal,
            through,
            covers,
            is_open: false,
            place: TrailPlace::Ledger { ledger_line },
        };
        self.seals.cursor(&mut self.judge, &met);
    }
}
