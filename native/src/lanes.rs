//! Sixteen numbers of 16 bits at once: what resizing does with them.

use std::array::from_fn;

pub const LANES: usize = 16;
pub const HALF: usize = LANES / 2;

/// Sixteen numbers, as a processor has them; every kind gives the same results.
pub trait Lanes: Copy {
    fn all(number: u16) -> Self;
    fn of(numbers: &[u16; LANES]) -> Self;
    fn of_halves(first: &[u16; HALF], second: &[u16; HALF]) -> Self;
    /// Bytes, each times 256.
    fn of_bytes(bytes: &[u8; LANES]) -> Self;
    fn store(self, to: &mut [u16; LANES]);
    /// Both halves as bytes, the lower one of a number first.
    fn halves(self) -> [[u8; LANES]; 2];
    /// Add a part of other numbers: so many 65536ths of each, rounded down.
    fn add_part(self, other: Self, weight: Self) -> Self;
    /// Put the upper byte of each number before that of another.
    fn upper(self, other: Self) -> Self;
    /// Turn rows into columns: the eight first halves, and the eight second ones.
    fn turn(rows: [Self; HALF]) -> [Self; HALF];
}

/// For every processor.
pub type Plain = [u16; LANES];

impl Lanes for Plain {
    #[inline(always)]
    fn all(number: u16) -> Self {
        [number; LANES]
    }

    #[inline(always)]
    fn of(numbers: &[u16; LANES]) -> Self {
        *numbers
    }

    #[inline(always)]
    fn of_halves(first: &[u16; HALF], second: &[u16; HALF]) -> Self {
        from_fn(|n| [first, second][n / HALF][n % HALF])
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8; LANES]) -> Self {
        bytes.map(|byte| u16::from(byte) << 8)
    }

    #[inline(always)]
    fn store(self, to: &mut [u16; LANES]) {
        *to = self;
    }

    #[inline(always)]
    fn halves(self) -> [[u8; LANES]; 2] {
        from_fn(|half| from_fn(|n| self[half * HALF + n / 2].to_le_bytes()[n % 2]))
    }

    #[inline(always)]
    fn add_part(self, other: Self, weight: Self) -> Self {
        from_fn(|n| {
            let part = (u32::from(other[n]) * u32::from(weight[n])) >> 16;
            self[n].wrapping_add(part as u16)
        })
    }

    #[inline(always)]
    fn upper(self, other: Self) -> Self {
        from_fn(|n| self[n] >> 8 | other[n] & 0xff00)
    }

    #[inline(always)]
    fn turn(rows: [Self; HALF]) -> [Self; HALF] {
        from_fn(|x| from_fn(|n| rows[n % HALF][n / HALF * HALF + x]))
    }
}
