//! Huffman codes of a baseline scan: run, length and value of a coefficient in one look-up.
//!
//! libjpeg-turbo looks up the code, then takes the value's bits, and where there are restart markers
//! it watches every byte for them. Here markers and stuffed bytes are taken out beforehand, and one
//! table gives what most coefficients need. Whatever is not as it should be ends the picture, which
//! is then left to Python: this is never laxer than libjpeg-turbo.

use crate::huffman::{Table, extend};
use crate::pairs::Pairs;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

const MOST_BLOCKS: usize = 10;
const TABLES: usize = 4;
const PADDING: [u8; 16] = [0; 16];
const LAST: usize = 63;
const END: usize = 64;

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

/// A table as the file has it: how many codes of each length, and their symbols.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    pub counts: [u8; 17],
    pub symbols: [u8; 256],
}

/// What entropy.c tells of a scan.
#[repr(C)]
struct Scan {
    data: *const u8,
    length: usize,
    mcus: usize,
    restart: u32,
    blocks: u32,
    component: [u8; MOST_BLOCKS],
    dc: [u8; MOST_BLOCKS],
    ac: [u8; MOST_BLOCKS],
    dc_tables: [*const Codes; TABLES],
    ac_tables: [*const Codes; TABLES],
}

/// Component and tables of a block of an MCU.
#[derive(Clone, Copy, Default)]
struct Kind {
    component: usize,
    dc: usize,
    ac: usize,
}

/// Decodes one scan after the other.
#[derive(Default)]
pub struct Entropy {
    dc: [Table; TABLES],
    ac: [Pairs; TABLES],
    /// The scan without markers and stuffed bytes, then padding; and where its segments end.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    kinds: [Kind; MOST_BLOCKS],
    blocks: usize,
    predictions: [i32; MOST_BLOCKS],
    reader: Reader,
    segment: usize,
    /// MCUs of a segment, those of this one that are left, and all that are left.
    restart: usize,
    left: usize,
    all_left: usize,
}

thread_local! {
    static CURRENT: Cell<*mut Entropy> = const { Cell::new(ptr::null_mut()) };
}

/// Lets a decoder take the scans that this thread decodes, until it is dropped.
pub struct Turn<'a>(PhantomData<&'a mut Entropy>);

impl<'a> Turn<'a> {
    pub fn new(entropy: &'a mut Entropy) -> Self {
        CURRENT.set(entropy);
        Self(PhantomData)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        CURRENT.set(ptr::null_mut());
    }
}

/// Take a scan, and tell where its bytes end; null to leave it to libjpeg-turbo.
#[unsafe(no_mangle)]
unsafe extern "C" fn besana_scan_begin(scan: *const Scan, end: *mut usize) -> *mut Entropy {
    let current = CURRENT.get();
    if current.is_null() {
        return current;
    }
    // SAFETY: entropy.c gives a scan that is whole, and room for the end; nobody else uses the
    // decoder while a `Turn` holds it, and its bytes stay in memory as long as libjpeg-turbo runs.
    let (entropy, scan, end) = unsafe { (&mut *current, &*scan, &mut *end) };
    let data = unsafe { std::slice::from_raw_parts(scan.data, scan.length) };
    match entropy.begin(scan, data) {
        Some(found) => *end = found,
        None => return ptr::null_mut(),
    }
    current
}

/// Decode an MCU into blocks of zeros, or to nowhere; 0 where anything is wrong.
#[unsafe(no_mangle)]
unsafe extern "C" fn besana_scan_mcu(entropy: *mut Entropy, blocks: *const *mut Block) -> i32 {
    // SAFETY: it is what `besana_scan_begin` gave, during the same call of libjpeg-turbo, which
    // gives as many blocks as an MCU of this scan has.
    let entropy = unsafe { &mut *entropy };
    let blocks =
        (!blocks.is_null()).then(|| unsafe { std::slice::from_raw_parts(blocks, entropy.blocks) });
    i32::from(entropy.mcu(blocks).is_some())
}

impl Entropy {
    fn begin(&mut self, scan: &Scan, data: &[u8]) -> Option<usize> {
        self.blocks = scan.blocks as usize;
        let end = self.unstuff(data)?;
        self.restart = if scan.restart == 0 { usize::MAX } else { scan.restart as usize };
        if self.blocks > MOST_BLOCKS || self.ends.len() != scan.mcus.div_ceil(self.restart) {
            return None;
        }
        for n in 0..self.blocks {
            let (component, dc, ac) = (scan.component[n], scan.dc[n], scan.ac[n]);
            self.kinds[n] = Kind { component: component.into(), dc: dc.into(), ac: ac.into() };
        }
        // SAFETY: null, or a table of libjpeg-turbo's, which begins as `Codes` does.
        let codes = |table: *const Codes| unsafe { table.as_ref() };
        for n in 0..TABLES {
            if let Some(codes) = codes(scan.dc_tables[n]) {
                self.dc[n].fill(codes);
            }
            if let Some(codes) = codes(scan.ac_tables[n]) {
                self.ac[n].fill(codes);
            }
        }
        self.predictions = [0; MOST_BLOCKS];
        self.reader = Reader::default();
        (self.segment, self.left, self.all_left) = (0, self.restart, scan.mcus);
        Some(end)
    }

    /// Copy a scan without markers and stuffed bytes; tell where the marker after it is.
    fn unstuff(&mut self, data: &[u8]) -> Option<usize> {
        if self.bytes.len() < data.len() + PADDING.len() {
            self.bytes.resize(data.len() + PADDING.len(), 0);
        }
        self.ends.clear();
        let (mut from, mut to) = (0, 0);
        loop {
            let plain = copy_plain(&data[from..], &mut self.bytes[to..])?;
            (from, to) = (from + plain, to + plain);
            match *data.get(from + 1)? {
                0 => {
                    self.bytes[to] = 0xff;
                    to += 1;
                }
                marker @ 0xd0..=0xd7 if usize::from(marker & 7) == self.ends.len() % 8 => {
                    self.ends.push(to);
                }
                0xd0..=0xd7 | 0xff => return None,
                _ => {
                    self.ends.push(to);
                    self.bytes[to..to + PADDING.len()].copy_from_slice(&PADDING);
                    return Some(from);
                }
            }
            from += 2;
        }
    }

    fn mcu(&mut self, blocks: Option<&[*mut Block]>) -> Option<()> {
        if self.left == 0 {
            self.left = self.restart;
            self.reader = Reader { at: self.ends[self.segment], ..Reader::default() };
            self.segment += 1;
            self.predictions = [0; MOST_BLOCKS];
        }
        let mut reader = self.reader;
        let mut nowhere = [0; 64];
        for (n, kind) in self.kinds[..self.blocks].iter().enumerate() {
            let block = match blocks {
                // SAFETY: libjpeg-turbo's blocks lie apart from each other, and only we use them.
                Some(blocks) => unsafe { &mut *blocks[n] },
                None => &mut nowhere,
            };
            let prediction = &mut self.predictions[kind.component];
            let change = reader.change(&self.bytes, &self.dc[kind.dc])?;
            *prediction = prediction.wrapping_add(change);
            block[0] = *prediction as i16;
            reader.coefficients(&self.bytes, &self.ac[kind.ac], block)?;
        }
        self.reader = reader;
        self.left -= 1;
        self.all_left = self.all_left.checked_sub(1)?;
        if self.left == 0 || self.all_left == 0 {
            // Less than a byte is left, the one that was filled up.
            let used = 8 * reader.at - reader.count as usize;
            return (8 * self.ends.get(self.segment)?)
                .checked_sub(used)
                .filter(|n| *n < 8)
                .map(drop);
        }
        Some(())
    }
}

/// The next bits, the first of them uppermost.
#[derive(Clone, Copy, Default)]
struct Reader {
    bits: u64,
    count: u32,
    at: usize,
}

impl Reader {
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
    fn change(&mut self, bytes: &[u8], table: &Table) -> Option<i32> {
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

    /// Take the other coefficients of a block.
    #[inline(always)]
    fn coefficients(&mut self, bytes: &[u8], codes: &Pairs, block: &mut Block) -> Option<()> {
        let mut place = 1;
        while place <= LAST {
            self.fill(bytes)?;
            // No branch hangs on how many bits are left: there are enough for five look-ups.
            for _ in 0..5 {
                let before = *self;
                let pair = codes.look_up(self.bits);
                let first = place + pair.run();
                let second = first + pair.gap();
                // Without a second one both are the same place, and the first one stays.
                block[in_rows(second)] = pair.second();
                block[in_rows(first)] = pair.first();
                self.skip(pair.length());
                place = second + pair.step();
                if place <= LAST {
                    continue;
                }
                if pair.is_unknown() {
                    self.fill(bytes)?;
                    place = self.further(&codes.table, first, block)?;
                } else if first == LAST && place > END {
                    // What follows the last place is another block's.
                    *self = before;
                    self.skip(codes.table.look_up(self.bits).length());
                    return Some(());
                } else {
                    return (first <= LAST && second <= LAST).then_some(());
                }
                break;
            }
        }
        (place == END).then_some(())
    }

    /// Take what a look-up did not give all of; tell the next place.
    #[inline(always)]
    fn further(&mut self, table: &Table, place: usize, block: &mut Block) -> Option<usize> {
        let (symbol, length) = table.symbol(table.look_up(self.bits), self.bits)?;
        let (run, size) = ((symbol >> 4) as usize, symbol & 15);
        self.skip(length);
        match (run, size) {
            (15, 0) => Some(place + 16),
            (_, 0) => Some(END),
            _ => {
                block[in_rows(place + run)] = self.value(size) as i16;
                Some(place + run + 1)
            }
        }
    }
}

/// Where the coefficient of a place goes.
#[inline(always)]
fn in_rows(place: usize) -> usize {
    usize::from(ROW_ORDER[place & 127]) & LAST
}

/// Copy bytes up to the first one of 0xff, and maybe some more; tell how many; none without one.
#[inline(always)]
fn copy_plain(data: &[u8], to: &mut [u8]) -> Option<usize> {
    let (words, rest) = data.as_chunks::<8>();
    for (n, (word, to)) in words.iter().zip(to.as_chunks_mut().0).enumerate() {
        *to = *word;
        let inverse = !u64::from_le_bytes(*word);
        let zeros = inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080;
        if zeros != 0 {
            return Some(8 * n + zeros.trailing_zeros() as usize / 8);
        }
    }
    let start = data.len() - rest.len();
    to[start..data.len()].copy_from_slice(rest);
    rest.iter().position(|byte| *byte == 0xff).map(|n| start + n)
}
