//! One picture to make, as numbers that Python lays out for a whole batch at once.

/// How many numbers an order has.
pub const COLUMNS: usize = 18;

/// One picture to make.
pub struct Order {
    /// Row of the batch.
    pub row: usize,
    /// Which of the records that were read already; none to read it from its shard.
    pub held: Option<usize>,
    pub shard: usize,
    /// Where its record starts in the shard, and its bytes with the frame.
    pub offset: u64,
    pub length: usize,
    /// CRC32C of the record's data.
    pub crc: u32,
    /// Where the image starts in the record's data, and its bytes.
    pub start: usize,
    pub payload_length: usize,
    /// Sides of the image in px, and channels of the sample.
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// 1, 2, 4 or 8.
    pub scale: usize,
    /// Part to take at that scale.
    pub region: Region,
    pub flip: bool,
    pub upend: bool,
    /// Quarter turns, counter-clockwise, after both.
    pub turns: usize,
    /// Whether the same bytes were decoded to their end before, without any complaint.
    pub sound: bool,
}

/// A piece of a picture, px.
#[derive(Clone, Copy)]
pub struct Region {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Order {
    /// Read `COLUMNS` numbers; those that are no u32 become larger than anything they are
    /// compared with, and sums of a few of them still fit.
    pub fn new(numbers: &[i64]) -> Self {
        let at = |place: usize| u32::try_from(numbers[place]).unwrap_or(u32::MAX) as usize;
        let flags = numbers[16];
        Self {
            row: at(0),
            held: usize::try_from(numbers[1]).ok(),
            shard: at(2),
            offset: u64::try_from(numbers[3]).unwrap_or(u64::MAX),
            length: at(4),
            crc: numbers[5] as u32,
            start: at(6),
            payload_length: at(7),
            height: at(8),
            width: at(9),
            channels: at(10),
            scale: at(11),
            region: Region { top: at(12), left: at(13), height: at(14), width: at(15) },
            flip: flags & 1 != 0,
            upend: flags & 2 != 0,
            sound: flags & 4 != 0,
            turns: at(17),
        }
    }
}
