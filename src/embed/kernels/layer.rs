//! The network's layers over rows of float32, whatever the unit.

use super::attention::{Attend, HEAD, scratch};
use super::dense::{Dense, narrow};
use super::lanes::{Lanes, Product, Work};
use super::stored::{Linear, Norm, Stored};

/// All layers, laid out for a unit.
pub(super) struct Layers<P: Product> {
    start: Norm,
    layers: Vec<Layer<P>>,
    width: usize,
}

struct Layer<P: Product> {
    mix: Dense<P>,
    join: Dense<P>,
    after_mix: Norm,
    up: Dense<P>,
    down: Dense<P>,
    after_feed: Norm,
}

/// What lies between the steps of a layer; kept from pass to pass, so that a pass allocates nothing.
#[derive(Default)]
pub(super) struct Room<N> {
    rows: Vec<N>,
    inner: Vec<N>,
    mixed: Vec<f32>,
    joined: Vec<f32>,
    head: Vec<f32>,
}

/// Whether a network of this width, inner width and head width can be laid out for this unit.
pub(super) const fn fits<P: Product>(width: usize, inner: usize, head: usize) -> bool {
    head == HEAD
        && Dense::<P>::fits(width, 3 * width)
        && Dense::<P>::fits(width, width)
        && Dense::<P>::fits(width, inner)
        && Dense::<P>::fits(inner, width)
}

impl<P: Product> Layers<P> {
    pub(super) fn new(start: Norm, stored: impl Iterator<Item = Stored>) -> Self {
        let dense = |(weight, bias): Linear| Dense::new(&weight, bias);
        let layers = stored.map(|stored| Layer {
            mix: dense(stored.mix),
            join: dense(stored.join),
            after_mix: stored.after_mix,
            up: dense(stored.up),
            down: dense(stored.down),
            after_feed: stored.after_feed,
        });
        Self { width: start.gain.len(), layers: layers.collect(), start }
    }

    /// Runs texts of these lengths through all layers, in place: from the sum of token and position vectors (tokens of
    /// all texts, width) to the token vectors.
    pub(super) fn forward(&self, simd: P, states: &mut [f32], lengths: &[usize], room: &mut Room<P::Number>) {
        let (unit, width) = (simd.unit(), self.width);
        let tokens = lengths.iter().sum::<usize>();
        assert_eq!(states.len(), tokens * width, "shapes differ");
        let longest = lengths.iter().max().copied().unwrap_or_default();
        room.joined.resize(tokens * width, 0.0);
        room.mixed.resize(3 * tokens * width, 0.0);
        room.rows.resize(tokens * width / P::PAIR, P::Number::default());
        room.head.resize(scratch::<P::Unit>(longest), 0.0);

        unit.run(Normalise { norm: &self.start, states, more: None });
        for layer in &self.layers {
            narrow(simd, states, &mut room.rows);
            layer.mix.apply(simd, &room.rows, &mut room.mixed);
            let mut start = 0;
            for length in lengths.iter().copied().filter(|length| *length > 0) {
                let (from, to) = (start * width, (start + length) * width);
                unit.run(Attend {
                    width,
                    mixed: &room.mixed[3 * from..3 * to],
                    to: &mut room.joined[from..to],
                    room: &mut room.head,
                });
                start += length;
            }
            narrow(simd, &room.joined, &mut room.rows);
            layer.join.apply(simd, &room.rows, &mut room.joined);
            unit.run(Normalise { norm: &layer.after_mix, states, more: Some(&room.joined) });

            narrow(simd, states, &mut room.rows);
            room.inner.resize(tokens * layer.up.outputs() / P::PAIR, P::Number::default());
            layer.up.apply_gelu(simd, &room.rows, &mut room.inner);
            layer.down.apply(simd, &room.inner, &mut room.joined);
            unit.run(Normalise { norm: &layer.after_feed, states, more: Some(&room.joined) });
        }
    }
}

/// Adds `more` to every row, then brings the row to mean 0 and variance 1, then applies gain and bias.
struct Normalise<'a> {
    norm: &'a Norm,
    states: &'a mut [f32],
    more: Option<&'a [f32]>,
}

impl<L: Lanes> Work<L> for Normalise<'_> {
    #[inline(always)]
    fn on(self, simd: L) {
        let Self { norm: Norm { gain, bias, epsilon }, states, more } = self;
        let width = gain.len();
        assert!(width == bias.len() && width.is_multiple_of(L::WIDTH), "shapes differ");
        assert!(more.is_none_or(|more| more.len() == states.len()), "shapes differ");
        for (r, row) in states.chunks_exact_mut(width).enumerate() {
            let row = row.as_mut_ptr();
            // SAFETY: `i` with a register's width is within the width of the row, of `more`'s row, gain and bias.
            unsafe {
                let mut sum = simd.splat(0.0);
                for i in (0..width).step_by(L::WIDTH) {
                    let mut x = simd.load(row.add(i));
                    if let Some(more) = more {
                        x = simd.add(x, simd.load(more.as_ptr().add(r * width + i)));
                        simd.store(row.add(i), x);
                    }
                    sum = simd.add(sum, x);
                }
                let mean = simd.splat(simd.sum(sum) / width as f32);
                let mut squares = simd.splat(0.0);
                for i in (0..width).step_by(L::WIDTH) {
                    let off = simd.sub(simd.load(row.add(i)), mean);
                    squares = simd.fma(off, off, squares);
                }
                let scale = simd.splat(1.0 / (simd.sum(squares) / width as f32 + epsilon).sqrt());
                for i in (0..width).step_by(L::WIDTH) {
                    let x = simd.mul(simd.sub(simd.load(row.add(i)), mean), scale);
                    let (gain, bias) = (simd.load(gain.as_ptr().add(i)), simd.load(bias.as_ptr().add(i)));
                    simd.store(row.add(i), simd.fma(x, gain, bias));
                }
            }
        }
    }
}
