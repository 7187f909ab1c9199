//! A table of Huffman codes, laid out so that a look-up gives as much as it can.

use crate::entropy::Codes;

/// Bits of a look-up, and of the longest code.
pub const LOOK: u32 = 11;
const WHOLE: u32 = 1 << 7;
const LONGEST: u32 = 16;

/// What the next bits mean: the bits used, the symbol, and the value where all of it was seen.
#[derive(Clone, Copy, Default)]
pub struct Entry(u32);

impl Entry {
    fn new(length: u32, symbol: u8, value: i32) -> Self {
        Self(length | u32::from(symbol) << 8 | (value as u32) << 16)
    }

    /// Bits of the code, with those of the value where that is known; 0 where the code is longer
    /// than the look-up, or there is none.
    #[inline(always)]
    pub fn length(self) -> u32 {
        self.0 & 63
    }

    /// Whether all was seen, be it a value or a code without one.
    #[inline(always)]
    pub fn is_whole(self) -> bool {
        self.0 & WHOLE != 0
    }

    /// Whether it is the code that ends a block.
    pub fn is_end(self) -> bool {
        self.length() > 0 && self.0 >> 8 == 0
    }

    /// Zeros before the coefficient.
    #[inline(always)]
    pub fn run(self) -> usize {
        (self.0 >> 12 & 15) as usize
    }

    /// The coefficient; 0 where its bits are not in the look-up, or there is none.
    #[inline(always)]
    pub fn value(self) -> i16 {
        (self.0 >> 16) as i16
    }
}

pub struct Table {
    entries: Box<[Entry; 1 << LOOK]>,
    codes: Codes,
    /// Of the codes of each length: the first one, the place of its symbol, and where longer ones
    /// begin, as 16 bits.
    first: [u32; 17],
    place: [u32; 17],
    limit: [u32; 17],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: Box::new([Entry::default(); 1 << LOOK]),
            codes: Codes { counts: [0; 17], symbols: [0; 256] },
            first: [0; 17],
            place: [0; 17],
            limit: [0; 17],
        }
    }
}

impl Table {
    /// Lay out a file's table, unless it is the one of the last file; tell whether it is another.
    pub fn fill(&mut self, codes: &Codes) -> bool {
        if self.codes == *codes {
            return false;
        }
        self.codes = *codes;
        self.entries.fill(Entry::default());
        let (mut code, mut place) = (0, 0);
        for length in 1..=LONGEST {
            let n = length as usize;
            (self.first[n], self.place[n]) = (code, place);
            for _ in 0..codes.counts[n] {
                let symbol = codes.symbols[place as usize & 0xff];
                if length <= LOOK {
                    self.spread(code, length, symbol);
                }
                (code, place) = (code + 1, place + 1);
            }
            self.limit[n] = code << (LONGEST - length);
            code *= 2;
        }
        true
    }

    /// Write the entries of all bits that begin with a code.
    fn spread(&mut self, code: u32, length: u32, symbol: u8) {
        let (spare, size) = (LOOK - length, u32::from(symbol & 15));
        let from = (code << spare) as usize;
        let Some(entries) = self.entries.get_mut(from..from + (1 << spare)) else { return };
        for (tail, entry) in (0..).zip(entries) {
            *entry = match size {
                0 => Entry::new(length | WHOLE, symbol, 0),
                _ if size > spare => Entry::new(length, symbol, 0),
                _ => {
                    let value = extend(tail >> (spare - size), size);
                    Entry::new((length + size) | WHOLE, symbol, value)
                }
            };
        }
    }

    pub fn entries(&self) -> &[Entry; 1 << LOOK] {
        &self.entries
    }

    #[inline(always)]
    pub fn look_up(&self, bits: u64) -> Entry {
        self.entries[(bits >> (64 - LOOK)) as usize]
    }

    /// Give symbol and length of a code; none where no code begins so.
    #[inline(always)]
    pub fn symbol(&self, entry: Entry, bits: u64) -> Option<(u32, u32)> {
        if entry.length() > 0 {
            return Some((entry.0 >> 8 & 0xff, entry.length()));
        }
        self.long_symbol((bits >> 48) as u32)
    }

    #[cold]
    fn long_symbol(&self, bits: u32) -> Option<(u32, u32)> {
        let length = (LOOK + 1..=LONGEST).find(|length| bits < self.limit[*length as usize])?;
        let n = length as usize;
        let place = self.place[n] + (bits >> (LONGEST - length)).checked_sub(self.first[n])?;
        Some((u32::from(*self.codes.symbols.get(place as usize)?), length))
    }
}

/// Make a value of its bits, as ITU-T T.81 does in F.2.2.1.
#[inline(always)]
pub fn extend(bits: u32, size: u32) -> i32 {
    let lowest = if bits >> (size - 1) == 0 { 1 - (1 << size) } else { 0 };
    bits as i32 + lowest
}
