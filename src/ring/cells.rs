//! The cells of the ring. A position, counted from 0, has one cell; a cell has one position in each lap.
//!
//! A publisher that has claimed a position at the gate puts a value into its cell, and then stamps the cell with the
//! position (`FILL`). The drainer reads the stamp first (`FILLED`, the acquire to the release of `FILL`). If it is not
//! that of the position, there is nothing to take: nobody has claimed the position, or its publisher was stopped
//! before it filled the cell.
//!
//! A cell belongs to its publisher from the claim to the stamp, and to the drainer from the stamp until it gives room
//! back at the gate. So no thread ever meets it locked ([`Place`]), or full; `loom-tests` asserts both.

use super::super::sync::{Place, Position, order};

#[derive(Debug)]
pub(crate) struct Cells<T> {
    /// Their number is a power of two: a mask finds the cell of a position.
    cells: Box<[Cell<T>]>,
}

#[derive(Debug)]
struct Cell<T> {
    /// The last position that was filled, plus one.
    stamp: Position,
    place: Place<T>,
}

impl<T> Cells<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let cell = || Cell {
            stamp: Position::new(0),
            place: Place::new(),
        };
        Self {
            cells: std::iter::repeat_with(cell)
                .take(capacity.next_power_of_two())
                .collect(),
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "called, it would be handed a copy of the value"
    )]
    pub(crate) fn fill(&self, position: u64, value: T) {
        let cell = self.cell(position);
        cell.place.put(value);
        cell.stamp.store(position + 1, order::FILL);
    }

    /// The value at this position, if it has been filled.
    pub(crate) fn take(&self, position: u64) -> Option<T> {
        let cell = self.cell(position);
        if cell.stamp.load(order::FILLED) != position + 1 {
            return None;
        }
        cell.place.take()
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask keeps only low bits"
    )]
    fn cell(&self, position: u64) -> &Cell<T> {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }
}
