//! JPEG that decodes in parts: see besana/images/segments.py, which writes the same table.

use crate::order::Region;

const JFIF: usize = 20;
const TABLE: usize = 22;
const FIRST_LENGTH: usize = JFIF + TABLE;
const MARKER: [u8; 2] = [0xff, 0xe9];
const MARK: [u8; 7] = *b"besana\x01";
const MARGIN: usize = 1;

/// A piece of a picture that lies in the buffer as a JPEG of its own.
pub struct Part {
    pub region: Region,
    pub channels: usize,
}

/// Assemble a JPEG of the segments under a region; none where the file has no table that fits.
pub fn assemble(
    data: &[u8],
    height: usize,
    width: usize,
    region: Region,
    into: &mut Vec<u8>,
) -> Option<Part> {
    let table = data.get(JFIF..FIRST_LENGTH)?;
    if table[..2] != MARKER || table[4..11] != MARK {
        return None;
    }
    let number = |at: usize| usize::from(u16::from_be_bytes([table[at], table[at + 1]]));
    let (length, mcu_px, mcus) = (number(2), usize::from(table[11]), number(12));
    let (columns, rows, sides, scan) = (number(14), number(16), number(18), number(20));
    let (count, segment_px) = (columns * rows, mcus * mcu_px);
    let covers = |side: usize, each: usize, many: usize| {
        many > 0 && (many - 1) * each < side && side <= many * each
    };
    if length != TABLE - 2 + 2 * count
        || data.len() < scan + length + 2
        || scan < JFIF
        || sides + 4 > scan
        || !covers(height, mcu_px, rows)
        || !covers(width, segment_px, columns)
    {
        return None;
    }
    let span = |first: usize, size: usize, each: usize, many: usize| {
        let last = (first + size + MARGIN).div_ceil(each).min(many);
        (first.saturating_sub(MARGIN) / each, last)
    };
    let (row, last_row) = span(region.top, region.height, mcu_px, rows);
    let (column, last_column) = span(region.left, region.width, segment_px, columns);
    if row >= last_row || column >= last_column {
        return None;
    }
    if (last_row - row) * (last_column - column) == count {
        return None;
    }
    let start = FIRST_LENGTH + 2 * count;
    let lengths = data.get(FIRST_LENGTH..start)?;
    let length_of =
        |n: usize| usize::from(u16::from_be_bytes([lengths[2 * n], lengths[2 * n + 1]]));
    let first_segment = start + scan - JFIF;
    into.clear();
    into.extend_from_slice(&data[..JFIF]);
    into.extend_from_slice(data.get(start..first_segment)?);
    let mut at = first_segment;
    let mut restart = 0u8;
    for line in 0..rows {
        for place in 0..columns {
            let end = at + length_of(line * columns + place);
            if (row..last_row).contains(&line) && (column..last_column).contains(&place) {
                into.extend_from_slice(data.get(at..end)?);
                *into.last_mut()? = 0xd0 + restart;
                restart = (restart + 1) % 8;
            }
            at = end;
        }
    }
    if at != data.len() {
        return None;
    }
    *into.last_mut()? = 0xd9;
    let (top, left) = (row * mcu_px, column * segment_px);
    let region = Region {
        top,
        left,
        height: (last_row * mcu_px).min(height) - top,
        width: (last_column * segment_px).min(width) - left,
    };
    into[sides..sides + 2].copy_from_slice(&u16::try_from(region.height).ok()?.to_be_bytes());
    into[sides + 2..sides + 4].copy_from_slice(&u16::try_from(region.width).ok()?.to_be_bytes());
    Some(Part { region, channels: if mcu_px == 8 { 1 } else { 3 } })
}
