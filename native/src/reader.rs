//! Coefficients out of bits: of one block, or of two that lie apart, in turn.

use crate::huffman::{Table, extend};
use crate::pairs::{Pair, Pairs};

const LAST: usize = 63;
const END: usize = 64;

/// Look-ups that a reader has bits for.
const LOOK_UPS: usize = 5;

/// Coefficients of a block, in rows.
pub type Block = [i16; 64];

/// Where the coefficient of each place of a scan goes; places beyond the last are all the last.
static ROW_ORDER: [u8; 128] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63,
];

/// The next bits, the first of them uppermost.
#[derive(Clone, Copy, Default)]
pub struct Reader {
    bits: u64,
    count: u32,
    at: usize,
}

impl Reader {
    /// Begin with this byte.
    pub fn new(at: usize) -> Self {
        Self { at, ..Self::default() }
    }

    /// Bits that were used since the first byte of all.
    pub fn used(&self) -> usize {
        8 * self.at - self.count as usize
    }

    /// Have at least 56 bits.
    #[inline(always)]
    fn fill(&mut self, bytes: &[u8]) -> Option<()> {
        let next = bytes.get(self.at..self.at + 8)?;
        self.bits |= u64::from_be_bytes(next.try_into().ok()?) >> self.count;
        self.at += ((63 - self.count) / 8) as usize;
        self.count |= 56;
        Some(())
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    /// Take a value of 1 to 15 bits.
    #[inline(always)]
    fn value(&mut self, size: u32) -> i32 {
        let value = extend((self.bits >> (64 - size)) as u32, size);
        self.skip(size);
        value
    }

    /// Take the change of a block's mean.
    #[inline(always)]
    pub fn change(&mut self, bytes: &[u8], table: &Table) -> Option<i32> {
        self.fill(bytes)?;
        let entry = table.look_up(self.bits);
        if entry.is_whole() {
            self.skip(entry.length());
            return Some(entry.value().into());
        }
        let (symbol, length) = table.symbol(entry, self.bits)?;
        self.skip(length);
        match symbol {
            0 => Some(0),
            1..16 => Some(self.value(symbol)),
            _ => None,
        }
    }

    /// Take the other coefficients of a block, from a place on.
    #[inline(always)]
    pub fn coefficients(
        &mut self,
        bytes: &[u8],
        codes: &Pairs,
        block: &mut Block,
        mut place: usize,
    ) -> Option<()> {
        while place <= LAST {
            self.fill(bytes)?;
            let mut pair = Pair::default();
            // No branch hangs on how many bits are left.
            for _ in 0..LOOK_UPS {
                (place, pair) = self.step(codes, block, place);
                if place > LAST {
                    break;
                }
            }
            place = self.settle(bytes, codes, block, place, pair)?;
        }
        (place == END).then_some(())
    }

    /// Take what one look-up gives; tell it, and the next place.
    #[inline(always)]
    fn step(&mut self, codes: &Pairs, block: &mut Block, place: usize) -> (usize, Pair) {
        let pair = codes.look_up(self.bits);
        let first = place + pair.run();
        let second = first + pair.gap();
        debug_assert!(place <= LAST);
        let mut put = |place: usize, value: i16| {
            // SAFETY: places begin within the block, 4 and 5 bits lead 46 beyond it at most, and
            // there are 128 in ROW_ORDER, all of whose numbers are places of a block.
            unsafe {
                *block.get_unchecked_mut(usize::from(*ROW_ORDER.get_unchecked(place))) = value
            }
        };
        // Without a second one both are the same place, and the first one stays.
        put(second, pair.second());
        put(first, pair.first());
        self.skip(pair.length());
        (second + pair.step(), pair)
    }

    /// Go on where a look-up led beyond the last place; tell the next one.
    #[inline(always)]
    fn settle(
        &mut self,
        bytes: &[u8],
        codes: &Pairs,
        block: &mut Block,
        place: usize,
        pair: Pair,
    ) -> Option<usize> {
        if place <= LAST {
            return Some(place);
        }
        let second = place - pair.step();
        let first = second - pair.gap();
        if pair.is_unknown() {
            self.fill(bytes)?;
            return self.further(&codes.table, first, block);
        }
        if first == LAST && place > END {
            // What follows the last place is another block's.
            *self = self.back(bytes, pair.length())?;
            self.skip(codes.table.look_up(self.bits).length());
            return Some(END);
        }
        (first <= LAST && second <= LAST).then_some(END)
    }

    /// Give bits back.
    #[cold]
    fn back(&self, bytes: &[u8], count: u32) -> Option<Self> {
        let used = self.used() - count as usize;
        let mut earlier = Self::new(used / 8);
        earlier.fill(bytes)?;
        earlier.skip((used % 8) as u32);
        Some(earlier)
    }

    /// Take what a look-up did not give all of; tell the next place.
    #[inline(always)]
    fn further(&mut self, table: &Table, place: usize, block: &mut Block) -> Option<usize> {
        let (symbol, length) = table.symbol(table.look_up(self.bits), self.bits)?;
        self.skip(length);
        let (run, size) = ((symbol >> 4) as usize, symbol & 15);
        match (run, size) {
            (15, 0) => Some(place + 16),
            (_, 0) => Some(END),
            _ => {
                let to = usize::from(*ROW_ORDER.get(place + run)?);
                *block.get_mut(to)? = self.value(size) as i16;
                Some(place + run + 1)
            }
        }
    }
}

/// Take the coefficients of two blocks in turn: neither waits for the other's look-ups.
#[inline(always)]
pub fn coefficients_of_two(
    [one, other]: &mut [Reader; 2],
    bytes: &[u8],
    codes: &Pairs,
    [block, other_block]: [&mut Block; 2],
) -> Option<()> {
    let (mut place, mut other_place) = (1, 1);
    while place <= LAST && other_place <= LAST {
        one.fill(bytes)?;
        other.fill(bytes)?;
        let (mut pair, mut other_pair) = Default::default();
        for _ in 0..LOOK_UPS {
            (place, pair) = one.step(codes, block, place);
            (other_place, other_pair) = other.step(codes, other_block, other_place);
            if place | other_place > LAST {
                break;
            }
        }
        place = one.settle(bytes, codes, block, place, pair)?;
        other_place = other.settle(bytes, codes, other_block, other_place, other_pair)?;
    }
    one.coefficients(bytes, codes, block, place)?;
    other.coefficients(bytes, codes, other_block, other_place)
}
