//! Huffman codes of a baseline scan: run, length and value of a coefficient in one look-up.
//!
//! libjpeg-turbo looks up the code, then takes the value's bits, and where there are restart markers
//! it watches every byte for them. Here markers and stuffed bytes are taken out beforehand, and one
//! table gives what most coefficients need. Whatever is not as it should be ends the picture, which
//! is then left to Python: this is never laxer than libjpeg-turbo.

use crate::huffman::Table;
use crate::pairs::Pairs;
use crate::reader::{Block, Reader, coefficients_of_two};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

const MOST_BLOCKS: usize = 10;
const TABLES: usize = 4;
const PADDING: [u8; 16] = [0; 16];
/// MCUs of a segment at most, where two are decoded in turn.
const MOST_AHEAD: usize = 8;

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
    /// What was decoded of this segment and the next one, and how many blocks of it were taken.
    ahead: Vec<Block>,
    taken: usize,
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
        (self.segment, self.all_left) = (0, scan.mcus);
        self.begin_segment();
        self.ahead.clear();
        self.taken = 0;
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
            self.segment += 1;
            self.begin_segment();
        }
        let is_short = self.restart <= MOST_AHEAD && self.left == self.restart;
        if self.taken == self.ahead.len() && is_short && self.all_left >= 2 * self.restart {
            self.look_ahead()?;
        }
        self.left -= 1;
        self.all_left = self.all_left.checked_sub(1)?;
        if self.taken == self.ahead.len() {
            return self.decode(blocks);
        }
        let decoded = self.ahead.get(self.taken..self.taken + self.blocks)?;
        self.taken += self.blocks;
        for (block, decoded) in blocks.unwrap_or_default().iter().zip(decoded) {
            // SAFETY: libjpeg-turbo's blocks lie apart from each other, and only we use them.
            unsafe { **block = *decoded };
        }
        Some(())
    }

    fn begin_segment(&mut self) {
        self.left = self.restart;
        self.reader = self.reader_of(self.segment);
        self.predictions = [0; MOST_BLOCKS];
    }

    fn reader_of(&self, segment: usize) -> Reader {
        Reader::new(if segment > 0 { self.ends[segment - 1] } else { 0 })
    }

    /// Decode an MCU to where it is wanted.
    #[inline(always)]
    fn decode(&mut self, blocks: Option<&[*mut Block]>) -> Option<()> {
        let mut reader = self.reader;
        let mut nowhere = [0; 64];
        for (n, kind) in self.kinds[..self.blocks].iter().enumerate() {
            let block = match blocks {
                // SAFETY: as above.
                Some(blocks) => unsafe { &mut *blocks[n] },
                None => &mut nowhere,
            };
            let prediction = &mut self.predictions[kind.component];
            let change = reader.change(&self.bytes, &self.dc[kind.dc])?;
            *prediction = prediction.wrapping_add(change);
            block[0] = *prediction as i16;
            reader.coefficients(&self.bytes, &self.ac[kind.ac], block, 1)?;
        }
        self.reader = reader;
        if self.left == 0 || self.all_left == 0 {
            self.check_end(self.segment, &reader)?;
        }
        Some(())
    }

    /// Decode this segment and the next one in turn, to be handed out MCU by MCU.
    #[inline(always)]
    fn look_ahead(&mut self) -> Option<()> {
        let many = self.restart * self.blocks;
        self.ahead.clear();
        self.ahead.resize(2 * many, [0; 64]);
        self.taken = 0;
        let mut readers = [self.reader_of(self.segment), self.reader_of(self.segment + 1)];
        let mut predictions = [[0i32; 2]; MOST_BLOCKS];
        let (blocks, others) = self.ahead.split_at_mut(many);
        let kinds = self.kinds[..self.blocks].iter().cycle();
        for ((block, other), kind) in blocks.iter_mut().zip(others).zip(kinds) {
            let both = [block, other];
            for n in 0..2 {
                let prediction = &mut predictions[kind.component][n];
                let change = readers[n].change(&self.bytes, &self.dc[kind.dc])?;
                *prediction = prediction.wrapping_add(change);
                both[n][0] = *prediction as i16;
            }
            coefficients_of_two(&mut readers, &self.bytes, &self.ac[kind.ac], both)?;
        }
        self.check_end(self.segment, &readers[0])?;
        self.check_end(self.segment + 1, &readers[1])
    }

    /// Less than a byte may be left of a segment, the one that was filled up.
    fn check_end(&self, segment: usize, reader: &Reader) -> Option<()> {
        let left = (8 * self.ends.get(segment)?).checked_sub(reader.used())?;
        (left < 8).then_some(())
    }
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
