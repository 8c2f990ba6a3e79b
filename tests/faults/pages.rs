//! Two pages of a segment at rest are damaged, at a tenth and at nine tenths of it, in one way or another. All entries
//! but theirs are delivered; theirs are counted and announced.
//!
//! The file format is read here without the library. Source: <https://www.sqlite.org/fileformat2.html>.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::child::at_once;
use crate::stock::{ENTRIES, assert_all_but, blind, leave_backlog, publish, segments};
use test_support::bench::{end, until_delivered};
use test_support::sinks::Mode;

pub(crate) const PAGE_BYTES: u64 = 16_384;
const PAGE: usize = 16_384;

/// What the first byte of a page says: it holds rows of a table.
const LEAF: u8 = 13;
/// Numbers of a run in a key.
const NUMBER_BITS: u32 = 40;

/// A segment at rest.
pub(crate) struct Pages(Vec<u8>);

/// A page that holds entries.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// From 0 on.
    pub(crate) number: usize,
    keys: Vec<u64>,
}

impl Leaf {
    /// The entries that it holds, numbered from 0 as the tests do.
    pub(crate) fn entries(&self) -> impl Iterator<Item = usize> {
        let number = |key| key & ((1 << NUMBER_BITS) - 1);
        self.keys
            .iter()
            .map(move |key| usize::try_from(number(key) - 1).unwrap())
    }
}

impl Pages {
    pub(crate) fn of(segment: &Path) -> Self {
        Self(fs::read(segment).unwrap())
    }

    /// The first page with entries past so many percent of the file.
    pub(crate) fn leaf_at(&self, percent: usize) -> Leaf {
        let pages: Vec<_> = self.0.chunks(PAGE).enumerate().skip(1).collect();
        let first = pages.len() * percent / 100;
        let mut leaves = pages.iter().filter(|(_, page)| page[0] == LEAF);
        let found = leaves.find(|(number, _)| *number >= first);
        let &(number, page) = found.unwrap();
        let keys = keys(page);
        assert!((5..100).contains(&keys.len()), "{} entries", keys.len());
        Leaf { number, keys }
    }
}

fn keys(page: &[u8]) -> Vec<u64> {
    let key = |cell: usize| {
        let (_, length) = varint(&page[cell..]);
        varint(&page[cell + length..]).0
    };
    cells(page).into_iter().map(key).collect()
}

/// Where the rows of a page begin.
fn cells(page: &[u8]) -> Vec<usize> {
    let word = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    (0..word(3)).map(|cell| word(8 + 2 * cell)).collect()
}

/// A number of at most eight bytes, seven bits each; and how many bytes.
fn varint(bytes: &[u8]) -> (u64, usize) {
    let length = 1 + bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let bits = |number: u64, byte: &u8| number << 7 | u64::from(byte & 0x7f);
    (bytes[..length].iter().fold(0, bits), length)
}

type Damage = (&'static str, fn(&mut [u8]));

/// What has become of a page.
const DAMAGES: [Damage; 6] = [
    ("all bits are flipped", |page| flip(page, 0xff)),
    ("its header is flipped", |page| flip(&mut page[..8], 0xff)),
    ("its pointers lead anywhere", |page| {
        flip(&mut page[8..72], 0x55);
    }),
    ("a bit of each row is flipped", |page| {
        for cell in cells(page) {
            page[cell + 200] ^= 1;
        }
    }),
    ("its first sector is another's", |page| {
        page[..512].fill(0xa5);
    }),
    ("it is empty", |page| page.fill(0)),
];

fn flip(bytes: &mut [u8], mask: u8) {
    for byte in bytes {
        *byte ^= mask;
    }
}

#[test]
fn two_damaged_pages_cost_their_own_entries() {
    at_once(DAMAGES, |(_, damage)| damaged(damage));
}

fn damaged(damage: fn(&mut [u8])) {
    let bench = blind();
    leave_backlog(&bench, 0..ENTRIES / 4);
    let segment = segments(&bench.spill()).remove(0);
    let mut pages = Pages::of(&segment);
    let bad = [pages.leaf_at(10), pages.leaf_at(90)];
    for page in &bad {
        damage(&mut pages.0[page.number * PAGE..(page.number + 1) * PAGE]);
    }
    fs::write(&segment, &pages.0).unwrap();
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer, ENTRIES / 4..ENTRIES / 4 + 10);
    until_delivered(&drainer);
    let stats = end(drainer, 10);
    let missing: BTreeSet<_> = bad.iter().flat_map(Leaf::entries).collect();
    assert_all_but(&bench, &stats, &missing, 0..ENTRIES / 4 + 10);
}

/// A disk that wrote a page to the place of a later one: all its bytes are sound.
#[test]
fn a_misplaced_page_loses_only_the_entries_it_replaced() {
    let (from, to) = (10, 90);
    let bench = blind();
    leave_backlog(&bench, 0..ENTRIES / 4);
    let segment = segments(&bench.spill()).remove(0);
    let mut pages = Pages::of(&segment);
    let (from, to) = (pages.leaf_at(from), pages.leaf_at(to));
    pages.0.copy_within(
        from.number * PAGE..(from.number + 1) * PAGE,
        to.number * PAGE,
    );
    fs::write(&segment, &pages.0).unwrap();
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer, ENTRIES / 4..ENTRIES / 4 + 10);
    until_delivered(&drainer);
    let stats = end(drainer, 10);
    assert_all_but(&bench, &stats, &to.entries().collect(), 0..ENTRIES / 4 + 10);
}
