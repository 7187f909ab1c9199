//! Resizes by a triangle filter as wide as the reduction, in whole numbers, and mirrors on the way.
//!
//! Sixteen rows are made at a time: first as wide as the source, in 256ths of a level; then they
//! are turned into columns, so that both directions are sums of whole lines; then turned back.

#[cfg(target_arch = "x86_64")]
use crate::avx2::Wide;
use crate::lanes::{HALF, LANES, Lanes, Plain};
use crate::windows::Windows;
use std::array::from_fn;

/// Bytes of a line that are added up at once.
const CHUNK: usize = 64;
const REGISTERS: usize = CHUNK / LANES;

/// Bytes that lie behind a source in memory; nothing depends on what they hold.
pub const SPARE: usize = CHUNK;

/// A piece of a picture in memory: where it begins, and its sides, px.
pub struct Source<'a> {
    /// To its end, and then `SPARE` bytes.
    pub pixels: &'a [u8],
    /// Bytes from row to row.
    pub pitch: usize,
    pub height: usize,
    pub width: usize,
}

/// What resizes in one thread.
#[derive(Default)]
pub struct Resizer {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    is_plain: bool,
    down: Windows,
    across: Windows,
    /// Of sixteen rows, the values in each place of a line: of the source, then of the target.
    wide: Vec<[u16; LANES]>,
    made: Vec<[u16; LANES]>,
}

impl Resizer {
    /// `is_plain` does without what only some processors have; results are the same.
    pub fn new(is_plain: bool) -> Self {
        Self { is_plain, ..Self::default() }
    }

    /// Make a picture of `C` channels; none where it shrinks too much for our windows.
    ///
    /// `flip` mirrors it left to right, `upend` top to bottom.
    pub fn resize<const C: usize>(
        &mut self,
        source: &Source<'_>,
        (height, width): (usize, usize),
        (flip, upend): (bool, bool),
        target: &mut [u8],
    ) -> Option<()> {
        self.down.fill(source.height, height, upend)?;
        self.across.fill(source.width, width, flip)?;
        self.wide.resize((source.width * C).next_multiple_of(CHUNK), [0; LANES]);
        self.made.resize((width * C).next_multiple_of(LANES), [0; LANES]);
        #[cfg(target_arch = "x86_64")]
        if !self.is_plain && is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has it.
            return unsafe { self.with_avx2::<C>(source, target, width * C) };
        }
        self.all_rows::<Plain, C>(source, target, width * C)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn with_avx2<const C: usize>(
        &mut self,
        source: &Source<'_>,
        target: &mut [u8],
        line: usize,
    ) -> Option<()> {
        self.all_rows::<Wide, C>(source, target, line)
    }

    #[inline(always)]
    fn all_rows<L: Lanes, const C: usize>(
        &mut self,
        source: &Source<'_>,
        target: &mut [u8],
        line: usize,
    ) -> Option<()> {
        for (n, rows) in target.chunks_mut(LANES * line).enumerate() {
            self.down::<L, C>(source, n * LANES)?;
            self.across::<L, C>();
            self.give::<L>(rows, line);
        }
        Some(())
    }

    /// Make rows as wide as the source, from this one on, or the last row again and again.
    #[inline(always)]
    fn down<L: Lanes, const C: usize>(&mut self, source: &Source<'_>, first: usize) -> Option<()> {
        let last = self.down.starts.len() - 1;
        let windows: [_; LANES] = from_fn(|n| {
            let y = (first + n).min(last);
            (self.down.starts[y] * source.pitch, self.down.weights(y))
        });
        let mut lines = [[[0; HALF]; CHUNK / HALF]; LANES];
        for (x, columns) in self.wide.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
            for (line, (start, weights)) in lines.iter_mut().zip(windows) {
                let from = source.pixels.get(start + x * CHUNK..)?;
                let sums = add_up::<L>(from, source.pitch, weights)?;
                for (to, sum) in line.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(sums) {
                    sum.store(to);
                }
            }
            for (x, columns) in columns.as_chunks_mut::<HALF>().0.iter_mut().enumerate() {
                let turned = L::turn(from_fn(|n| L::of_halves(&lines[n][x], &lines[n + HALF][x])));
                for (to, column) in columns.iter_mut().zip(turned) {
                    column.store(to);
                }
            }
        }
        Some(())
    }

    /// Make columns of the target out of those of the source.
    #[inline(always)]
    fn across<L: Lanes, const C: usize>(&mut self) {
        // Half a level to round it, and what was rounded down on the average.
        let start = L::all(128 + self.across.count as u16 / 2);
        let (pixels, _) = self.wide.as_chunks::<C>();
        for (x, to) in self.made.as_chunks_mut::<C>().0.iter_mut().enumerate() {
            let Some(first) = self.across.starts.get(x) else { break };
            let mut sums = [start; C];
            for (pixel, weight) in pixels[*first..].iter().zip(self.across.weights(x)) {
                let weight = L::all(*weight);
                for (sum, values) in sums.iter_mut().zip(pixel) {
                    *sum = sum.add_part(L::of(values), weight);
                }
            }
            for (to, sum) in to.iter_mut().zip(sums) {
                sum.store(to);
            }
        }
    }

    /// Turn columns into rows of bytes.
    #[inline(always)]
    fn give<L: Lanes>(&self, rows: &mut [u8], line: usize) {
        let mut rows = rows.chunks_exact_mut(line);
        let mut rows: [(&mut [[u8; LANES]], &mut [u8]); LANES] =
            from_fn(|_| rows.next().unwrap_or_default().as_chunks_mut());
        let (groups, _) = self.made.as_chunks::<LANES>();
        let (whole, rest) = groups.split_at(line / LANES);
        for (x, columns) in whole.iter().enumerate() {
            let made = bytes::<L>(columns);
            for n in 0..HALF {
                let [upper, lower] = made[n].halves();
                if let Some(to) = rows[n].0.get_mut(x) {
                    *to = upper;
                }
                if let Some(to) = rows[n + HALF].0.get_mut(x) {
                    *to = lower;
                }
            }
        }
        if let Some(columns) = rest.first() {
            let made = bytes::<L>(columns).map(L::halves);
            for (n, (_, to)) in rows.iter_mut().enumerate() {
                to.copy_from_slice(&made[n % HALF][n / HALF][..to.len()]);
            }
        }
    }
}

/// Add up rows of bytes, each times its weight.
#[inline(always)]
fn add_up<L: Lanes>(from: &[u8], pitch: usize, weights: &[u16]) -> Option<[L; REGISTERS]> {
    // A part is rounded down by half a 256th on the average.
    let mut sums = [L::all(weights.len() as u16 / 2); REGISTERS];
    for (n, weight) in weights.iter().enumerate() {
        let bytes: &[u8; CHUNK] = from.get(n * pitch..)?.first_chunk()?;
        let weight = L::all(*weight);
        for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks().0) {
            *sum = sum.add_part(L::of_bytes(bytes), weight);
        }
    }
    Some(sums)
}

/// Turn the values of sixteen places into bytes of rows: of the first eight, and the others.
#[inline(always)]
fn bytes<L: Lanes>(columns: &[[u16; LANES]; LANES]) -> [L; HALF] {
    L::turn(from_fn(|n| L::of(&columns[2 * n]).upper(L::of(&columns[2 * n + 1]))))
}
