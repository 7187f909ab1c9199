//! Look-ups that give two coefficients at once, where both are short.

use crate::entropy::Codes;
use crate::huffman::{Entry, LOOK, Table};

/// What the next bits mean: up to two coefficients, and whether the block ends after them.
#[derive(Clone, Copy, Default)]
pub struct Pair(u32);

/// Where its fields begin: the length comes first, so that it needs no mask to shift by.
const RUN: u32 = 6;
const GAP: u32 = 10;
const KIND: u32 = 15;
const FIRST: u32 = 17;
const SECOND: u32 = 25;

/// The block ends here; it ends after one coefficient; a look-up does not tell.
const ENDS: u32 = 1 << KIND;
const ENDS_AFTER: u32 = 2 << KIND;
const UNKNOWN: u32 = 3 << KIND;

/// Beyond all places of a block.
const FAR: usize = 1 << 7;

impl Pair {
    /// Bits of all that is given.
    #[inline(always)]
    pub fn length(self) -> u32 {
        self.0 & 63
    }

    #[inline(always)]
    pub fn is_unknown(self) -> bool {
        self.0 & UNKNOWN == UNKNOWN
    }

    /// Zeros before the first coefficient.
    #[inline(always)]
    pub fn run(self) -> usize {
        (self.0 >> RUN & 15) as usize
    }

    /// Places from the first coefficient to the second; 0 where there is none.
    #[inline(always)]
    pub fn gap(self) -> usize {
        (self.0 >> GAP & 31) as usize
    }

    #[inline(always)]
    pub fn first(self) -> i16 {
        ((self.0 << (24 - FIRST)) as i32 >> 24) as i16
    }

    #[inline(always)]
    pub fn second(self) -> i16 {
        (self.0 as i32 >> SECOND) as i16
    }

    /// Places to go on by after the last coefficient: 1, or beyond all of them.
    #[inline(always)]
    pub fn step(self) -> usize {
        FAR * (self.0 >> KIND & 3) as usize + 1
    }
}

/// A table of AC coefficients.
pub struct Pairs {
    pairs: Box<[Pair; 1 << LOOK]>,
    pub table: Table,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { pairs: Box::new([Pair::default(); 1 << LOOK]), table: Table::default() }
    }
}

impl Pairs {
    /// Lay out a file's table, unless it is the one of the last file.
    pub fn fill(&mut self, codes: &Codes) {
        if !self.table.fill(codes) {
            return;
        }
        let singles = self.table.entries();
        let seconds = singles.map(as_second);
        let mut n = 0;
        while n < singles.len() {
            let first = singles[n];
            let spare = LOOK - first.length();
            // All bits that begin with this code, and with its value where that was seen.
            let many = if first.length() > 0 { 1 << spare } else { singles.len() };
            let end = (n + many).min(singles.len());
            let pairs = &mut self.pairs[n..end];
            n = end;
            match as_first(first) {
                Some(alone) => {
                    let follows = seconds.iter().step_by(1 << first.length());
                    for (pair, second) in pairs.iter_mut().zip(follows) {
                        let fits = Pair(*second).length() <= spare;
                        *pair = Pair(if fits { alone + second } else { alone });
                    }
                }
                None if first.is_end() => pairs.fill(Pair(first.length() | ENDS)),
                None => pairs.fill(Pair(UNKNOWN)),
            }
        }
    }

    #[inline(always)]
    pub fn look_up(&self, bits: u64) -> Pair {
        self.pairs[(bits >> (64 - LOOK)) as usize]
    }
}

/// Give the bits of a pair for a first coefficient; none where it is not known.
fn as_first(entry: Entry) -> Option<u32> {
    let value = i8::try_from(entry.value()).ok().filter(|value| *value != 0)?;
    Some(entry.length() | (entry.run() as u32) << RUN | u32::from(value as u8) << FIRST)
}

/// Give the bits of a pair for what follows a first coefficient; 0 where it is not known.
fn as_second(entry: Entry) -> u32 {
    match entry.value() {
        0 if entry.is_end() => entry.length() | ENDS_AFTER,
        -64..0 | 1..64 => {
            entry.length() | (entry.run() as u32 + 1) << GAP | (entry.value() as u32) << SECOND
        }
        _ => 0,
    }
}
