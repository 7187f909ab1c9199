//! Mirrors and turns pictures where they lie.

use crate::order::Order;

/// What turns pictures in one thread.
#[derive(Default)]
pub struct Turner {
    copy: Vec<u8>,
}

impl Turner {
    /// Mirror a picture left to right, top to bottom, or both; then turn it by quarters,
    /// counter-clockwise. None where a quarter turn would change its sides.
    pub fn turn(
        &mut self,
        row: &mut [u8],
        order: &Order,
        width: usize,
        channels: usize,
    ) -> Option<()> {
        let line = width * channels;
        let (is_half, is_quarter) = (order.turns >= 2, order.turns % 2 == 1);
        if order.turns > 3 || is_quarter && row.len() != line * width {
            return None;
        }
        if order.flip != is_half {
            self.mirror(row, line, channels);
        }
        if order.upend != is_half {
            upend(row, line);
        }
        if is_quarter {
            self.copy.clear();
            self.copy.extend_from_slice(row);
            match channels {
                1 => quarter(row.as_chunks_mut::<1>().0, self.copy.as_chunks().0, width),
                _ => quarter(row.as_chunks_mut::<3>().0, self.copy.as_chunks().0, width),
            }
        }
        Some(())
    }

    fn mirror(&mut self, row: &mut [u8], line: usize, channels: usize) {
        for pixels in row.chunks_exact_mut(line) {
            if channels == 1 {
                pixels.reverse();
                continue;
            }
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("ssse3") {
                self.copy.clear();
                self.copy.push(0);
                self.copy.extend_from_slice(pixels);
                // SAFETY: this processor has the instructions.
                unsafe { by_fives::mirror(pixels, &self.copy) };
                continue;
            }
            pixels.as_chunks_mut::<3>().0.reverse();
        }
    }
}

fn upend(row: &mut [u8], line: usize) {
    let lines = row.len() / line;
    let (upper, lower) = row.split_at_mut(lines / 2 * line);
    for (one, other) in upper.chunks_exact_mut(line).zip(lower.rchunks_exact_mut(line)) {
        one.swap_with_slice(other);
    }
}

fn quarter<const N: usize>(to: &mut [[u8; N]], from: &[[u8; N]], side: usize) {
    for (y, line) in to.chunks_exact_mut(side).enumerate() {
        let column = from[side - 1 - y..].iter().step_by(side);
        for (pixel, source) in line.iter_mut().zip(column) {
            *pixel = *source;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod by_fives {
    use std::arch::x86_64::{
        __m128i, _mm_loadu_si128, _mm_setr_epi8, _mm_shuffle_epi8, _mm_storeu_si128,
    };

    const FIVE: usize = 15;

    /// Write pixels of three bytes from right to left, five at a time.
    ///
    /// `copy` is one byte, then the pixels.
    #[target_feature(enable = "ssse3")]
    pub fn mirror(pixels: &mut [u8], copy: &[u8]) {
        let order = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, -1);
        let mut done = 0;
        while let Some(to) = pixels.get_mut(done..done + FIVE + 1) {
            let end = copy.len() - done;
            let from: &[u8] = &copy[end - FIVE - 1..end];
            // SAFETY: both are 16 bytes long; the last one of `to` is written again below.
            unsafe {
                let five = _mm_loadu_si128(from.as_ptr().cast::<__m128i>());
                let turned = _mm_shuffle_epi8(five, order);
                _mm_storeu_si128(to.as_mut_ptr().cast::<__m128i>(), turned);
            }
            done += FIVE;
        }
        let left = copy.len() - done;
        let rest = copy[1..left].as_chunks::<3>().0.iter().rev();
        for (to, from) in pixels[done..].as_chunks_mut::<3>().0.iter_mut().zip(rest) {
            *to = *from;
        }
    }
}
