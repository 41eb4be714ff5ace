//! The network's layers over rows of float32, whatever the unit.

use std::ops::Range;

use super::attention::{Attend, HEAD, scratch};
use super::dense::{Dense, narrow};
use super::lanes::{Lanes, Product, Work};
use super::pass::Pass;
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

/// What lies between the steps of a stage; a thread keeps it from pass to pass, so that a pass allocates nothing.
#[derive(Default)]
pub(super) struct Room<N> {
    rows: Vec<N>,
    inner: Vec<N>,
    joined: Vec<f32>,
    head: Vec<f32>,
}

/// So many of these numbers; what is in them is whatever was there.
fn some<N: Copy + Default>(kept: &mut Vec<N>, many: usize) -> &mut [N] {
    if kept.len() < many {
        kept.resize(many, N::default());
    }
    &mut kept[..many]
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

    /// Stages of a pass: one that begins, and one a layer.
    pub(super) const fn stages(&self) -> usize {
        self.layers.len() + 1
    }

    /// Works at a pass until it is over.
    pub(super) fn work(&self, simd: P, pass: &Pass, room: &mut Room<P::Number>) {
        assert_eq!(pass.width(), self.width, "shapes differ");
        pass.work(|stage, rows| self.stage(simd, pass, stage, rows, room));
    }

    /// Takes rows from the attention of the layer before (the first stage: from the vectors they start from) to the
    /// queries, keys and values of this one (the last stage: to the token vectors).
    fn stage(&self, simd: P, pass: &Pass, stage: usize, rows: Range<usize>, room: &mut Room<P::Number>) {
        let (unit, width) = (simd.unit(), self.width);
        let numbers = rows.len() * width;
        // SAFETY: these rows were claimed by this thread alone.
        let states = unsafe { pass.states.write(rows.start * width..rows.end * width) };
        let narrowed = some(&mut room.rows, numbers / P::PAIR);
        match stage.checked_sub(1) {
            None => unit.run(Normalise { norm: &self.start, states, more: None }),
            Some(before) => {
                let layer = &self.layers[before];
                let joined = some(&mut room.joined, numbers);
                let mut done = 0;
                for (start, length, of_text) in pass.texts(rows.clone()) {
                    // SAFETY: every row has come through the stage that wrote this plane; this stage writes the other.
                    let mixed = unsafe { pass.mixed[before % 2].read(3 * start * width..3 * (start + length) * width) };
                    let to = &mut joined[done * width..(done + of_text.len()) * width];
                    done += of_text.len();
                    let room = some(&mut room.head, scratch::<P::Unit>(length));
                    unit.run(Attend { width, mixed, first: of_text.start, to, room });
                }
                narrow(simd, joined, narrowed);
                layer.join.apply(simd, narrowed, joined);
                unit.run(Normalise { norm: &layer.after_mix, states, more: Some(joined) });

                narrow(simd, states, narrowed);
                let inner = some(&mut room.inner, rows.len() * layer.up.outputs() / P::PAIR);
                layer.up.apply_gelu(simd, narrowed, inner);
                layer.down.apply(simd, inner, joined);
                unit.run(Normalise { norm: &layer.after_feed, states, more: Some(joined) });
            }
        }
        if let Some(layer) = self.layers.get(stage) {
            narrow(simd, states, narrowed);
            // SAFETY: these rows were claimed by this thread alone, and nobody reads this plane in this stage.
            let mixed = unsafe { pass.mixed[stage % 2].write(3 * rows.start * width..3 * rows.end * width) };
            layer.mix.apply(simd, narrowed, mixed);
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::super::{Kernels, Linear, Norm, Stored, Unit};

    const WIDTH: usize = 96;

    /// So many numbers without a pattern (Knuth's multiplicative hash), from another place for every `seed`.
    fn numbers(seed: usize, many: usize, scale: f32) -> Vec<f32> {
        let number = |i: usize| ((seed * 100_003 + i) as u32).wrapping_mul(2_654_435_769);
        (0..many).map(|i| (number(i) as f32 / u32::MAX as f32 - 0.5) * scale).collect()
    }

    fn network(unit: Unit) -> Kernels {
        let norm = |seed| Norm { gain: numbers(seed, WIDTH, 2.0), bias: numbers(seed + 1, WIDTH, 0.5), epsilon: 1e-12 };
        let linear = |seed, inputs: usize, outputs: usize| -> Linear {
            (numbers(seed, inputs * outputs, 0.4), numbers(seed + 1, outputs, 0.5))
        };
        // As many that both planes are written again.
        let layers = (10..40).step_by(10).map(|seed| Stored {
            mix: linear(seed, WIDTH, 3 * WIDTH),
            join: linear(seed + 2, WIDTH, WIDTH),
            after_mix: norm(seed + 4),
            up: linear(seed + 5, WIDTH, WIDTH),
            down: linear(seed + 6, WIDTH, WIDTH),
            after_feed: norm(seed + 8),
        });
        Kernels::new(unit, norm(1), layers).expect("the processor has the unit")
    }

    #[test]
    fn a_pass_of_several_threads_has_the_bits_of_one_threads() {
        let alone = (2..=33).chain([48, 63, 65, 127, 256]).map(|length| vec![length]);
        let lengths: Vec<Vec<usize>> = alone.chain([vec![3, 17, 0, 40], vec![9; 8]]).collect();
        let start = numbers(0, 256 * WIDTH, 2.0);
        for unit in Unit::available(WIDTH, WIDTH, 32) {
            let kernels = &network(unit);
            for lengths in &lengths {
                let start = &start[..lengths.iter().sum::<usize>() * WIDTH];
                let (mut alone, mut shared) = (start.to_vec(), start.to_vec());
                kernels.run(&mut alone, lengths, &|_| ());
                thread::scope(|scope| {
                    kernels.run(&mut shared, lengths, &|pass| {
                        let begin = Arc::new(Barrier::new(3));
                        for _ in 0..2 {
                            let (pass, begin) = (Arc::clone(pass), Arc::clone(&begin));
                            scope.spawn(move || {
                                begin.wait();
                                kernels.work(&pass);
                            });
                        }
                        begin.wait();
                    });
                });
                assert!(alone.iter().all(|x| x.is_finite()) && alone != start, "{unit}");
                assert_eq!(alone, shared, "{unit} at {lengths:?}");
            }
        }
    }
}
