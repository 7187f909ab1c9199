//! Fills rows of a batch from records: one call for many pictures, without the interpreter's lock.
//!
//! Whatever is not an ordinary sound JPEG of the expected size is left to Python, which makes it or
//! says what is wrong with it: so errors are the same with and without this library.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_os = "linux")]
mod entropy;
#[cfg(target_os = "linux")]
mod huffman;
mod jpeg;
mod lanes;
mod order;
#[cfg(target_os = "linux")]
mod pairs;
mod parts;
mod picture;
#[cfg(target_os = "linux")]
mod reader;
mod record;
mod resize;
mod turns;
mod windows;

use order::{COLUMNS, Order};
use picture::Maker;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use record::Files;
use std::time::{Duration, Instant};

/// What one thread needs again and again: a decoder, buffers and open files.
#[pyclass]
struct Filler {
    maker: Maker,
    files: Files,
    height: usize,
    width: usize,
    channels: usize,
}

#[pymethods]
impl Filler {
    /// Make pictures of one size from shards at these paths.
    ///
    /// `plain` does without what only some processors have; pictures are the same.
    #[new]
    #[pyo3(signature = (paths, height, width, channels, plain = false))]
    fn new(
        paths: Vec<String>,
        height: usize,
        width: usize,
        channels: usize,
        plain: bool,
    ) -> PyResult<Self> {
        if height == 0 || width == 0 || !matches!(channels, 1 | 3) {
            return Err(PyValueError::new_err("pictures have sides, and 1 or 3 channels"));
        }
        let maker = Maker::new(plain).ok_or_else(|| PyValueError::new_err("no JPEG decoder"))?;
        Ok(Self { maker, files: Files::new(paths), height, width, channels })
    }

    /// Fill rows of a batch.
    ///
    /// `orders` has `COLUMNS` int64 numbers a picture (see `order.rs`), `held` the records that
    /// were read already, `out` the batch as bytes, a row after the other.
    ///
    /// Gives a byte a picture: 0 where it is left to Python and its row may hold anything, 1 where
    /// it was made, 2 where its file was decoded to the end as well; and the seconds of reading.
    fn fill(
        &mut self,
        py: Python<'_>,
        orders: PyBuffer<i64>,
        held: Vec<PyBackedBytes>,
        out: PyBuffer<u8>,
    ) -> PyResult<(Vec<u8>, f64)> {
        let numbers = orders.to_vec(py)?;
        let size = self.height * self.width * self.channels;
        if numbers.len() % COLUMNS != 0 || out.readonly() || !out.is_c_contiguous() {
            return Err(PyValueError::new_err("orders or out are not of the right form"));
        }
        let orders: Vec<Order> = numbers.chunks_exact(COLUMNS).map(Order::new).collect();
        let rows = out.len_bytes() / size;
        if orders.iter().any(|order| order.row >= rows) {
            return Err(PyValueError::new_err("a row lies beyond the batch"));
        }
        let base = Address(out.buf_ptr().cast());
        let mut read = Duration::ZERO;
        let made = py.detach(|| {
            orders
                .iter()
                .map(|order| {
                    // SAFETY: `out` stays alive and exported; the row lies within it (checked
                    // above); each row is written by one call at a time, and nobody reads it
                    // before this call has returned.
                    let row =
                        unsafe { std::slice::from_raw_parts_mut(base.row(order.row, size), size) };
                    self.make(order, &held, row, &mut read).map_or(0, |end| 1 + u8::from(end))
                })
                .collect()
        });
        Ok((made, read.as_secs_f64()))
    }
}

impl Filler {
    /// Make one picture; tell whether its file was decoded to the end, none where it was not made.
    fn make(
        &mut self,
        order: &Order,
        held: &[PyBackedBytes],
        row: &mut [u8],
        read: &mut Duration,
    ) -> Option<bool> {
        let started = Instant::now();
        let frame: &[u8] = match order.held {
            Some(number) => held.get(number)?,
            None => self.files.read(order.shard, order.offset, order.length)?,
        };
        let data = record::open(frame, order.crc)?;
        *read += started.elapsed();
        let payload = data.get(order.start..order.start.checked_add(order.payload_length)?)?;
        self.maker.make(payload, order, row, (self.height, self.width, self.channels))
    }
}

/// Where a batch lies.
struct Address(*mut u8);

// SAFETY: it is only a number; `fill` says why writing there is sound.
unsafe impl Sync for Address {}
unsafe impl Send for Address {}

impl Address {
    fn row(&self, row: usize, size: usize) -> *mut u8 {
        self.0.wrapping_add(row * size)
    }
}

/// Turn 8-bit pixels into float32: rows of the width of `factor`, times it, plus `add`.
#[pyfunction]
fn normalise(
    py: Python<'_>,
    pixels: PyBuffer<u8>,
    factor: PyBuffer<f32>,
    add: PyBuffer<f32>,
    out: PyBuffer<f32>,
) -> PyResult<()> {
    let (factor, add) = (factor.to_vec(py)?, add.to_vec(py)?);
    let count = pixels.item_count();
    let fits =
        !factor.is_empty() && factor.len() == add.len() && count.is_multiple_of(factor.len());
    let flat = pixels.is_c_contiguous() && out.is_c_contiguous() && !out.readonly();
    if !fits || !flat || out.item_count() != count {
        return Err(PyValueError::new_err("pixels and out are not of the same form"));
    }
    // SAFETY: both buffers stay alive and exported, are contiguous and as long as said; nobody
    // else writes them meanwhile.
    let (source, target) = unsafe {
        (
            std::slice::from_raw_parts(pixels.buf_ptr().cast::<u8>(), count),
            std::slice::from_raw_parts_mut(out.buf_ptr().cast::<f32>(), count),
        )
    };
    py.detach(|| {
        let rows = source.chunks_exact(factor.len()).zip(target.chunks_exact_mut(factor.len()));
        for (from, to) in rows {
            for (((value, times), plus), made) in from.iter().zip(&factor).zip(&add).zip(to) {
                *made = f32::from(*value) * times + plus;
            }
        }
    });
    Ok(())
}

#[pymodule]
fn besana_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("COLUMNS", COLUMNS)?;
    module.add_class::<Filler>()?;
    module.add_function(wrap_pyfunction!(normalise, module)?)
}
