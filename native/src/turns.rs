//! Turns pictures by a quarter where they lie.

/// Turn a square picture by a quarter, counter-clockwise; none where it is no square.
pub fn quarter(row: &mut [u8], width: usize, channels: usize, copy: &mut Vec<u8>) -> Option<()> {
    if row.len() != width * width * channels {
        return None;
    }
    copy.clear();
    copy.extend_from_slice(row);
    match channels {
        1 => turn(row.as_chunks_mut::<1>().0, copy.as_chunks().0, width),
        _ => turn(row.as_chunks_mut::<3>().0, copy.as_chunks().0, width),
    }
    Some(())
}

fn turn<const N: usize>(to: &mut [[u8; N]], from: &[[u8; N]], side: usize) {
    for (y, line) in to.chunks_exact_mut(side).enumerate() {
        let column = from[side - 1 - y..].iter().step_by(side);
        for (pixel, source) in line.iter_mut().zip(column) {
            *pixel = *source;
        }
    }
}
