//! Which pixels become one when a picture is resized, and how much each of them counts.

/// Pixels of a window at most; a picture that needs more is left to Python.
const MOST: usize = 32;
/// What the weights of a window add up to.
const ONE: f64 = 65536.0;

/// The windows of one direction, equally many pixels each.
#[derive(Default)]
pub struct Windows {
    pub count: usize,
    pub starts: Vec<usize>,
    weights: Vec<u16>,
}

impl Windows {
    /// Lay out a triangle filter as wide as the reduction; none where one would be empty or too large.
    ///
    /// `mirrored` gives the windows of a picture that is made the other way round.
    pub fn fill(&mut self, from: usize, to: usize, mirrored: bool) -> Option<()> {
        // In units of which a pixel of the source has 2 * `to`, all of this is whole numbers.
        let reach = 2 * from.max(to);
        self.count = reach.div_ceil(to).min(from);
        if !(1..=MOST).contains(&self.count) {
            return None;
        }
        self.starts.resize(to, 0);
        self.weights.resize(to * self.count, 0);
        let mut start = 0;
        for n in 0..to {
            let middle = from * (2 * n + 1);
            while start + self.count < from && (2 * start + 1) * to + reach <= middle {
                start += 1;
            }
            let place = if mirrored { to - 1 - n } else { n };
            self.starts[place] = start;
            let first = ((2 * start + 1) * to) as i64 - middle as i64;
            let weights = &mut self.weights[place * self.count..][..self.count];
            weigh(weights, first, 2 * to as i64, reach as i64);
        }
        Some(())
    }

    pub fn weights(&self, n: usize) -> &[u16] {
        &self.weights[n * self.count..][..self.count]
    }
}

/// Weigh pixels a step apart, the first of which lies this far from the middle of their window.
#[inline(always)]
fn weigh(weights: &mut [u16], first: i64, step: i64, reach: i64) {
    let share = |n: usize| (reach - (first + n as i64 * step).abs()).max(0);
    let all: i64 = (0..weights.len()).map(share).sum();
    let each = ONE / all as f64;
    let (mut sum, mut before) = (0, 0);
    for (n, weight) in weights.iter_mut().enumerate() {
        sum += share(n);
        let now = (sum as f64 * each + 0.5) as i32; // what is rounded off goes to the next one
        *weight = (now - before).min(u16::MAX.into()) as u16;
        before = now;
    }
}
