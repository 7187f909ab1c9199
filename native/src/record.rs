//! Records of TFRecord files: read, and every byte checked.

use std::fs::File;
use std::os::unix::fs::FileExt;

const HEADER: usize = 12;
const FRAME: usize = HEADER + 4;
const MOST_OPEN: usize = 32;

/// Shards, the last few of them open.
pub struct Files {
    paths: Vec<String>,
    open: Vec<(usize, File)>,
    buffer: Vec<u8>,
}

impl Files {
    pub fn new(paths: Vec<String>) -> Self {
        Self { paths, open: Vec::new(), buffer: Vec::new() }
    }

    /// Read some bytes of a shard, whole or not at all; good until the next call.
    pub fn read(&mut self, shard: usize, offset: u64, length: usize) -> Option<&[u8]> {
        let place = match self.open.iter().position(|(number, _)| *number == shard) {
            Some(place) => place,
            None => self.open_one(shard)?,
        };
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let buffer = &mut self.buffer[..length];
        self.open[place].1.read_exact_at(buffer, offset).ok()?;
        Some(buffer)
    }

    fn open_one(&mut self, shard: usize) -> Option<usize> {
        let file = File::open(self.paths.get(shard)?).ok()?;
        if self.open.len() >= MOST_OPEN {
            self.open.remove(0);
        }
        self.open.push((shard, file));
        Some(self.open.len() - 1)
    }
}

/// Take the data out of a framed record, if all checksums are right.
pub fn open(frame: &[u8], crc: u32) -> Option<&[u8]> {
    let length = frame.len().checked_sub(FRAME)?;
    let data = &frame[HEADER..HEADER + length];
    let number = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().unwrap());
    let said = u64::from_le_bytes(frame[..8].try_into().unwrap());
    let is_right = said == length as u64
        && masked(crc32c::crc32c(&frame[..8])) == number(8)
        && crc32c::crc32c(data) == crc
        && masked(crc) == number(HEADER + length);
    is_right.then_some(data)
}

/// Masked as TFRecord does it.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
