//! From the bytes of an image to its row of the batch: decode, crop, resize, turn.

use crate::jpeg::{Decoded, Decoder};
use crate::order::{Order, Region};
use crate::parts;
use crate::turns::Turner;
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// What makes pictures in one thread.
pub struct Maker {
    decoder: Decoder,
    resizer: Resizer,
    turner: Turner,
    part: Vec<u8>,
}

impl Maker {
    pub fn new() -> Option<Self> {
        let decoder = Decoder::new()?;
        let (resizer, turner) = (Resizer::new(), Turner::default());
        Some(Self { decoder, resizer, turner, part: Vec::new() })
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
        let Self { decoder, resizer, turner, part } = self;
        let (scale, region) = (order.scale, order.region);
        if !payload.starts_with(&[0xff, 0xd8]) || !matches!(scale, 1 | 2 | 4 | 8) {
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
        if channels == 1 {
            resize::<U8>(resizer, &decoded, height, width, row)?;
        } else {
            resize::<U8x3>(resizer, &decoded, height, width, row)?;
        }
        turner.turn(row, order, width, channels)?;
        Some(to_the_end && !is_part)
    }
}

/// Resize what was asked for by a triangle filter as wide as the reduction.
fn resize<P: PixelTrait + InnerPixel>(
    resizer: &mut Resizer,
    decoded: &Decoded<'_>,
    height: usize,
    width: usize,
    row: &mut [u8],
) -> Option<()> {
    let number = |value: usize| u32::try_from(value).ok();
    let Region { top, left, height: tall, width: wide } = decoded.region;
    let whole = TypedImageRef::<P>::from_buffer(
        number(decoded.width)?,
        number(decoded.height)?,
        decoded.pixels,
    )
    .ok()?;
    let source = TypedCroppedImage::from_ref(
        &whole,
        number(left)?,
        number(top)?,
        number(wide)?,
        number(tall)?,
    )
    .ok()?;
    let mut target = TypedImage::<P>::from_buffer(number(width)?, number(height)?, row).ok()?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false);
    resizer.resize_typed(&source, &mut target, &options).ok()
}
