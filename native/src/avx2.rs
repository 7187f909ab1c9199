//! Sixteen numbers in a register of AVX2.

use crate::lanes::{HALF, LANES, Lanes};
use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_and_si256, _mm256_cvtepu8_epi16,
    _mm256_loadu_si256, _mm256_mulhi_epu16, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi16,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi16,
    _mm256_unpacklo_epi16,
};
use std::mem::transmute;

/// Only for what is called by functions that have AVX2.
#[derive(Clone, Copy)]
pub struct Wide(__m256i);

// SAFETY of all that follows: the processor has AVX2, as whoever uses `Wide` made sure of; what is
// loaded and stored without alignment is an array of exactly that size.
impl Lanes for Wide {
    #[inline(always)]
    fn all(number: u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_epi16(number as i16) })
    }

    #[inline(always)]
    fn of(numbers: &[u16; LANES]) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    fn of_halves(first: &[u16; HALF], second: &[u16; HALF]) -> Self {
        // SAFETY: as above.
        unsafe {
            let half = |numbers: &[u16; HALF]| _mm_loadu_si128(numbers.as_ptr().cast());
            Self(_mm256_set_m128i(half(second), half(first)))
        }
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8; LANES]) -> Self {
        // SAFETY: as above.
        unsafe {
            let numbers = _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()));
            Self(_mm256_slli_epi16::<8>(numbers))
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [u16; LANES]) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn halves(self) -> [[u8; LANES]; 2] {
        // SAFETY: both are 32 bytes without gaps.
        unsafe { transmute(self.0) }
    }

    #[inline(always)]
    fn add_part(self, other: Self, weight: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_epi16(self.0, _mm256_mulhi_epu16(other.0, weight.0)) })
    }

    #[inline(always)]
    fn upper(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let second = _mm256_and_si256(other.0, Self::all(0xff00).0);
            Self(_mm256_or_si256(_mm256_srli_epi16::<8>(self.0), second))
        }
    }

    #[inline(always)]
    fn turn(mut rows: [Self; HALF]) -> [Self; HALF] {
        // Rows of the upper and the lower half alternate, three times over.
        for _ in 0..3 {
            let [a, b, c, d, e, f, g, h] = rows;
            let pairs = [(a, e), (b, f), (c, g), (d, h)];
            let [[a, b], [c, d], [e, f], [g, h]] = pairs.map(|(upper, lower)| {
                // SAFETY: as above.
                unsafe {
                    let first = _mm256_unpacklo_epi16(upper.0, lower.0);
                    [Self(first), Self(_mm256_unpackhi_epi16(upper.0, lower.0))]
                }
            });
            rows = [a, b, c, d, e, f, g, h];
        }
        rows
    }
}
