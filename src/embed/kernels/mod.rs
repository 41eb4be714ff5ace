//! The network by hand for the vector units of today's processors: the one island of `unsafe`.
//!
//! Why it is worth it: candle's own operations take 7.9 ms for a prompt of 32 tokens where the processor's arithmetic
//! needs 1.4 ms, and a router that waits for a vector before every request is measured by that. What is done
//! differently: weights are laid out once in the order in which they are read, in bf16 where the processor multiplies
//! it; bias and activation are applied while the sums are still in registers; texts are never padded; and one pass
//! allocates nothing.
//!
//! How it stays safe: a unit's type ([`avx512::Avx512`], ...) can be made by its `detect` alone, which asks the
//! processor; the code of a layer is written once over the trait [`lanes::Lanes`] and compiled for each unit inside
//! one `#[target_feature]` function; whatever takes pointers is private to this folder, and the functions that hand
//! them out compare the lengths of the slices first. Every unit is held to the reference vectors by one test, at every
//! length of text.

#[cfg(target_arch = "x86_64")]
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod dense;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod layer;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is nothing to pass through"))]
mod pass;
mod stored;

use std::fmt;
use std::sync::Arc;

pub(super) use pass::Pass;
pub(super) use stored::{Linear, Norm, Stored};

#[cfg(target_arch = "x86_64")]
use {
    avx2::Avx2,
    avx512::{Avx512, Avx512Bf16},
    layer::{Layers, Room, fits},
    std::cell::RefCell,
};

/// A vector unit that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// AVX-512 with BF16: weights and activations of linear layers in bf16, sums and all else in float32.
    Avx512Bf16,
    /// AVX-512.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512Bf16 => "AVX-512 bf16",
            Self::Avx512 => "AVX-512 f32",
            Self::Avx2 => "AVX2 f32",
        })
    }
}

/// A network laid out for a unit that this processor has.
pub(super) struct Kernels(Laid);

enum Laid {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16, Layers<Avx512Bf16>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Layers<Avx512>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2, Layers<Avx2>),
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    // The pass this thread began last; its memory serves the next one.
    static PASS: RefCell<Arc<Pass>> = RefCell::default();
    // Two formats, two rooms; a thread that computes in one of them leaves the other empty.
    static WIDE: RefCell<Room<f32>> = RefCell::default();
    static NARROW: RefCell<Room<u32>> = RefCell::default();
}

impl Unit {
    /// The units of this processor that can compute a network of this width, inner width and head width, the fastest
    /// first.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn available(width: usize, inner: usize, head: usize) -> Vec<Self> {
        let bf16 = Avx512Bf16::detect().filter(|_| fits::<Avx512Bf16>(width, inner, head)).map(|_| Self::Avx512Bf16);
        let wide = Avx512::detect().filter(|_| fits::<Avx512>(width, inner, head)).map(|_| Self::Avx512);
        let half = Avx2::detect().filter(|_| fits::<Avx2>(width, inner, head)).map(|_| Self::Avx2);
        [bf16, wide, half].into_iter().flatten().collect()
    }

    /// There are no kernels for this processor's family yet.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn available(_width: usize, _inner: usize, _head: usize) -> Vec<Self> {
        Vec::new()
    }
}

impl Kernels {
    /// Lays the network out. `None` if the processor does not have the unit.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(unit: Unit, start: Norm, layers: impl Iterator<Item = Stored>) -> Option<Self> {
        Some(Self(match unit {
            Unit::Avx512Bf16 => Laid::Avx512Bf16(Avx512Bf16::detect()?, Layers::new(start, layers)),
            Unit::Avx512 => Laid::Avx512(Avx512::detect()?, Layers::new(start, layers)),
            Unit::Avx2 => Laid::Avx2(Avx2::detect()?, Layers::new(start, layers)),
        }))
    }

    /// There are no kernels for this processor's family yet.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn new(_unit: Unit, _start: Norm, _layers: impl Iterator<Item = Stored>) -> Option<Self> {
        None
    }

    /// Runs texts of these lengths through all layers, in place: from the sum of token and position vectors (tokens of
    /// all texts, width) to the token vectors. Whoever gets the pass by `invite` may [work](Kernels::work) at it too.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn run(&self, states: &mut [f32], lengths: &[usize], invite: &dyn Fn(&Arc<Pass>)) {
        let stages = match &self.0 {
            Laid::Avx512Bf16(_, layers) => layers.stages(),
            Laid::Avx512(_, layers) => layers.stages(),
            Laid::Avx2(_, layers) => layers.stages(),
        };
        PASS.with_borrow_mut(|kept| {
            let pass = Pass::prepare(kept, states, lengths, stages);
            invite(pass);
            self.work(pass);
            pass.finish(states);
        });
    }

    /// Works at a pass that another thread began with this network, until it is over.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn work(&self, pass: &Pass) {
        match self.0 {
            Laid::Avx512Bf16(unit, ref layers) => NARROW.with_borrow_mut(|room| layers.work(unit, pass, room)),
            Laid::Avx512(unit, ref layers) => WIDE.with_borrow_mut(|room| layers.work(unit, pass, room)),
            Laid::Avx2(unit, ref layers) => WIDE.with_borrow_mut(|room| layers.work(unit, pass, room)),
        }
    }

    /// There is no network to run.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn run(&self, _states: &mut [f32], _lengths: &[usize], _invite: &dyn Fn(&Arc<Pass>)) {
        match self.0 {}
    }

    /// There is no network to run.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn work(&self, _pass: &Pass) {
        match self.0 {}
    }
}
