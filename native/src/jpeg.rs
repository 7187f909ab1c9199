//! The JPEG decoder: libjpeg-turbo's, with regions and scales.

#[cfg(target_os = "linux")]
use crate::entropy::{Entropy, Turn};
use crate::order::Region;
use crate::resize::SPARE;
use std::ffi::{c_int, c_void};
use turbojpeg_sys as tj;

/// Interpolated colours look beyond the edge of what is decoded; they are right this far inside.
const MARGIN: usize = 2;

/// A decoder of one thread.
pub struct Decoder {
    handle: *mut c_void,
    pixels: Vec<u8>,
    #[cfg(target_os = "linux")]
    entropy: Entropy,
}

// SAFETY: libjpeg-turbo's instances have no ties to a thread; `&mut self` keeps them to one.
unsafe impl Send for Decoder {}
unsafe impl Sync for Decoder {}

/// Pixels that lie in the decoder's buffer, and then `SPARE` bytes.
pub struct Decoded<'a> {
    pub pixels: &'a [u8],
    /// Where what was asked for begins, and bytes from row to row.
    pub start: usize,
    pub pitch: usize,
}

impl Decoder {
    pub fn new() -> Option<Self> {
        // SAFETY: makes an instance or gives null.
        let handle = unsafe { tj::tj3Init(tj::TJINIT_TJINIT_DECOMPRESS as c_int) };
        let decoder = Self {
            handle,
            pixels: Vec::new(),
            #[cfg(target_os = "linux")]
            entropy: Entropy::default(),
        };
        (!handle.is_null() && decoder.set(tj::TJPARAM_TJPARAM_STOPONWARNING, 1)).then_some(decoder)
    }

    /// Begin anew: after an error in a header libjpeg-turbo takes no other one.
    fn renew(&mut self) {
        if let Some(mut fresh) = Self::new() {
            std::mem::swap(&mut self.handle, &mut fresh.handle);
        }
    }

    fn set(&self, parameter: tj::TJPARAM, value: c_int) -> bool {
        // SAFETY: the handle is good until it is dropped.
        unsafe { tj::tj3Set(self.handle, parameter as c_int, value) == 0 }
    }

    fn get(&self, parameter: tj::TJPARAM) -> c_int {
        // SAFETY: as above.
        unsafe { tj::tj3Get(self.handle, parameter as c_int) }
    }

    /// Read the header; tell the channels if it is a picture of 8 bits and of this size.
    fn begin(&mut self, data: &[u8], height: usize, width: usize) -> Option<usize> {
        // SAFETY: the bytes are only read during the call.
        let status =
            unsafe { tj::tj3DecompressHeader(self.handle, data.as_ptr(), data.len() as u64) };
        if status != 0 {
            self.renew();
            return None;
        }
        let fits = self.get(tj::TJPARAM_TJPARAM_JPEGWIDTH) as usize == width
            && self.get(tj::TJPARAM_TJPARAM_JPEGHEIGHT) as usize == height
            && self.get(tj::TJPARAM_TJPARAM_PRECISION) == 8
            && self.get(tj::TJPARAM_TJPARAM_LOSSLESS) == 0;
        match self.get(tj::TJPARAM_TJPARAM_COLORSPACE) as tj::TJCS {
            _ if !fits => None,
            tj::TJCS_TJCS_GRAY => Some(1),
            tj::TJCS_TJCS_RGB | tj::TJCS_TJCS_YCbCr => Some(3),
            _ => None,
        }
    }

    /// Decode a region at a scale.
    ///
    /// `to_the_end` decodes all rows below it too, so that every complaint is heard; the first
    /// complaint ends it. Grey becomes colour where three channels are wanted.
    pub fn decode(
        &mut self,
        data: &[u8],
        (height, width): (usize, usize),
        scale: usize,
        region: Region,
        (said, wanted): (usize, usize),
        to_the_end: bool,
    ) -> Option<Decoded<'_>> {
        if self.begin(data, height, width)? != said {
            return None;
        }
        let factor = tj::tjscalingfactor { num: 1, denom: c_int::try_from(scale).ok()? };
        // SAFETY: a plain value.
        if unsafe { tj::tj3SetScalingFactor(self.handle, factor) } != 0 {
            return None;
        }
        let (tall, wide) = (height.div_ceil(scale), width.div_ceil(scale));
        if region.top + region.height > tall || region.left + region.width > wide {
            return None;
        }
        let taken = self.crop(scale, region, tall, wide, to_the_end)?;
        let size = taken.height * taken.width * wanted;
        if self.pixels.len() < size + SPARE {
            self.pixels.resize(size + SPARE, 0);
        }
        let format = if wanted == 1 { tj::TJPF_TJPF_GRAY } else { tj::TJPF_TJPF_RGB };
        let pitch = taken.width * wanted;
        let number = c_int::try_from(pitch).ok()?;
        let pixels = self.pixels.as_mut_ptr();
        #[cfg(target_os = "linux")]
        let _turn = Turn::new(&mut self.entropy);
        // SAFETY: the buffer holds `taken.height` rows of `pitch` bytes, which is what the region
        // set above makes; the bytes are only read during the call.
        let status = unsafe {
            tj::tj3Decompress8(
                self.handle,
                data.as_ptr(),
                data.len() as u64,
                pixels,
                number,
                format,
            )
        };
        let start = (region.top - taken.top) * pitch + (region.left - taken.left) * wanted;
        (status == 0).then_some(Decoded { pixels: &self.pixels[..size + SPARE], start, pitch })
    }

    /// Set the region that is decoded: what is asked for, its margin, from a column on that the
    /// decoder can start at.
    fn crop(
        &self,
        scale: usize,
        region: Region,
        tall: usize,
        wide: usize,
        to_the_end: bool,
    ) -> Option<Region> {
        let whole = Region { top: 0, left: 0, height: tall, width: wide };
        let mut taken = whole;
        if let Some(blocks_px) = self.mcu_width() {
            let each = blocks_px.div_ceil(scale);
            let left = region.left.saturating_sub(MARGIN) / each * each;
            let right = (region.left + region.width + MARGIN).min(wide);
            let top = region.top.saturating_sub(MARGIN);
            let bottom = if to_the_end { tall } else { region.top + region.height + MARGIN };
            let height = bottom.min(tall) - top;
            taken = Region { top, left, height, width: right - left };
        }
        let number = |value: usize| c_int::try_from(value).ok();
        let none = tj::tjregion { x: 0, y: 0, w: 0, h: 0 };
        let set = tj::tjregion {
            x: number(taken.left)?,
            y: number(taken.top)?,
            w: number(taken.width)?,
            h: number(taken.height)?,
        };
        let is_whole = taken.height == tall && taken.width == wide;
        // SAFETY: a plain value.
        let status =
            unsafe { tj::tj3SetCroppingRegion(self.handle, if is_whole { none } else { set }) };
        (status == 0).then_some(taken)
    }

    /// Width of the smallest coded blocks, px; none for sampling that has no name.
    fn mcu_width(&self) -> Option<usize> {
        match self.get(tj::TJPARAM_TJPARAM_SUBSAMP) {
            0 | 3 | 4 => Some(8),
            1 | 2 => Some(16),
            5 => Some(32),
            _ => None,
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: nobody uses it after this.
        unsafe { tj::tj3Destroy(self.handle) }
    }
}
