//! Four numbers that go through the same arithmetic: four arms are solved in the time of one.
//!
//! What is written over [`Number`] is written once, for one number and for four, so the bits of an arm are the same
//! alone and in company. And they are the same on every machine: each place is computed by single IEEE operations in
//! the order in which they are written. A fused multiply-add is one of them, used exactly where it is written
//! ([`Number::plus`], [`Number::less`]); a processor that has none computes the same bits, slowly.

use std::ops::{Add, Mul, Sub};

/// One number, or several side by side.
pub(super) trait Number: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// This number in every place.
    fn of(x: f64) -> Self;
    /// `self + a b`, rounded once.
    fn plus(self, a: Self, b: Self) -> Self;
    /// `self - a b`, rounded once.
    fn less(self, a: Self, b: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// 1 / x
    fn inverse(self) -> Self;
    /// Whether it is above 0 and finite in every place.
    fn may_be_pivot(self) -> bool;
}

impl Number for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        a.mul_add(b, self)
    }

    #[inline(always)]
    fn less(self, a: Self, b: Self) -> Self {
        (-a).mul_add(b, self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn inverse(self) -> Self {
        1.0 / self
    }

    #[inline(always)]
    fn may_be_pivot(self) -> bool {
        self > 0.0 && self < f64::INFINITY
    }
}

/// Places of a [`Four`].
pub(super) const LANES: usize = 4;

/// Four numbers side by side; as many as a register of AVX2 holds.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Four(pub(super) [f64; LANES]);

impl Four {
    /// All places together.
    pub(super) fn sum(self) -> f64 {
        let [a, b, c, d] = self.0;
        (a + b) + (c + d)
    }

    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        // Written out: a library function with a closure would not surely end up in the caller.
        let (a, b) = (self.0, other.0);
        Self([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])])
    }
}

impl Add for Four {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Sub for Four {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
}

impl Mul for Four {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
}

impl Number for Four {
    #[inline(always)]
    fn of(x: f64) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        let (s, a, b) = (self.0, a.0, b.0);
        Self([s[0].plus(a[0], b[0]), s[1].plus(a[1], b[1]), s[2].plus(a[2], b[2]), s[3].plus(a[3], b[3])])
    }

    #[inline(always)]
    fn less(self, a: Self, b: Self) -> Self {
        let (s, a, b) = (self.0, a.0, b.0);
        Self([s[0].less(a[0], b[0]), s[1].less(a[1], b[1]), s[2].less(a[2], b[2]), s[3].less(a[3], b[3])])
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f64::sqrt))
    }

    #[inline(always)]
    fn inverse(self) -> Self {
        Self(self.0.map(f64::inverse))
    }

    #[inline(always)]
    fn may_be_pivot(self) -> bool {
        // Without branches: all places are compared at once.
        let [a, b, c, d] = self.0;
        a.may_be_pivot() & b.may_be_pivot() & c.may_be_pivot() & d.may_be_pivot()
    }
}

/// A piece of work that is compiled for the registers at hand.
pub(super) trait Work {
    /// What comes of it.
    type Made;
    /// Does it. Must be `inline(always)`, as must be all that it calls with numbers.
    fn made(self) -> Self::Made;
}

/// Does this work in a function that is compiled for AVX2 and FMA where the processor has them. The compiler fuses and
/// reorders nothing on its own, so that only the time differs.
pub(super) fn wide<W: Work>(work: W) -> W::Made {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<W: Work>(work: W) -> W::Made {
            work.made()
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor was asked for it.
            return unsafe { compiled(work) };
        }
    }
    work.made()
}
