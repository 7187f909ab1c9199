//! From the bytes of an image to its row of the batch: decode, crop, resize, turn.

use crate::jpeg::Decoder;
use crate::order::{Order, Region};
use crate::parts;
use crate::resize::{Resizer, Source};
use crate::turns;

/// What makes pictures in one thread.
pub struct Maker {
    decoder: Decoder,
    resizer: Resizer,
    part: Vec<u8>,
    copy: Vec<u8>,
}

impl Maker {
    /// `is_plain` does without what only some processors have; pictures are the same.
    pub fn new(is_plain: bool) -> Option<Self> {
        let (decoder, resizer) = (Decoder::new()?, Resizer::new(is_plain));
        Some(Self { decoder, resizer, part: Vec::new(), copy: Vec::new() })
    }

    /// Fill one row of a batch; none where that is left to Python.
    ///
    /// Tells whether a file that is no part of another was decoded to its end.
    pub fn make(
        &mut self,
        payload: &[u8],
        order: &Order,
        row: &mut [u8],
        (height, width, channels): (usize, usize, usize),
    ) -> Option<bool> {
        let Self { decoder, resizer, part, copy } = self;
        let (scale, region) = (order.scale, order.region);
        if !payload.starts_with(&[0xff, 0xd8]) || !matches!(scale, 1 | 2 | 4 | 8) || order.turns > 3
        {
            return None;
        }
        let full = Region {
            top: region.top.checked_mul(scale)?,
            left: region.left.checked_mul(scale)?,
            height: region.height.checked_mul(scale)?,
            width: region.width.checked_mul(scale)?,
        };
        let found = parts::assemble(payload, order.height, order.width, full, part);
        let is_part = matches!(&found, Some(found) if found.channels == order.channels);
        let (data, sides, region, to_the_end) = match found {
            Some(found) if is_part => {
                let (top, left) = (found.region.top / scale, found.region.left / scale);
                let inside = Region {
                    top: region.top.checked_sub(top)?,
                    left: region.left.checked_sub(left)?,
                    ..region
                };
                (&part[..], (found.region.height, found.region.width), inside, true)
            }
            _ => (payload, (order.height, order.width), region, !order.sound),
        };
        let kinds = (order.channels, channels);
        let decoded = decoder.decode(data, sides, scale, region, kinds, to_the_end)?;
        let source = Source {
            pixels: decoded.pixels.get(decoded.start..)?,
            pitch: decoded.pitch,
            height: region.height,
            width: region.width,
        };
        let (is_half, is_quarter) = (order.turns >= 2, order.turns % 2 == 1);
        let (sides, mirrored) = ((height, width), (order.flip != is_half, order.upend != is_half));
        match channels {
            1 => resizer.resize::<1>(&source, sides, mirrored, row)?,
            _ => resizer.resize::<3>(&source, sides, mirrored, row)?,
        }
        if is_quarter {
            turns::quarter(row, width, channels, copy)?;
        }
        Some(to_the_end && !is_part)
    }
}
