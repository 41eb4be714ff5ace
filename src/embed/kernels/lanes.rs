//! What a processor's vector unit must offer, and the functions built on it.
//!
//! [`Lanes`] is a register of float32 and its operations; [`Product`] adds the numbers that weights are stored in.
//! A value of a type that implements them exists only where the processor was asked and has the instructions, so
//! its methods are safe to call but for those that take pointers. Everything is `inline(always)`: the code of a piece
//! of [`Work`] is compiled for the instructions of the `#[target_feature]` function that its unit runs it in.

/// A piece of work that is compiled for the unit it runs on.
pub(super) trait Work<Unit> {
    /// Does it. Must be `inline(always)`, as must be all that it calls with registers.
    fn on(self, unit: Unit);
}

/// Registers of [`Lanes::WIDTH`] float32 numbers.
pub(super) trait Lanes: Copy {
    /// A register.
    type F: Copy;
    /// Numbers in a register.
    const WIDTH: usize;
    /// Rows of a product computed together: as many as the register file holds sums for.
    const ROWS: usize;
    /// Registers of a product's columns computed together.
    const COLUMNS: usize;

    /// Does this work in a function compiled for the unit.
    fn run(self, work: impl Work<Self>);
    /// This number in every place.
    fn splat(self, x: f32) -> Self::F;
    /// Reads a register.
    ///
    /// # Safety
    /// [`Lanes::WIDTH`] numbers can be read at `from`.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// Writes a register.
    ///
    /// # Safety
    /// [`Lanes::WIDTH`] numbers can be written at `to`.
    unsafe fn store(self, to: *mut f32, x: Self::F);
    /// a + b
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// a - b
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// a * b
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger of each place.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// 1 / a, to within a unit or two of the last place
    fn reciprocal(self, a: Self::F) -> Self::F;
    /// |a|
    fn abs(self, a: Self::F) -> Self::F;
    /// `below` where x < 0, else `above`.
    fn by_sign(self, x: Self::F, below: Self::F, above: Self::F) -> Self::F;
    /// The nearest whole number.
    fn round(self, a: Self::F) -> Self::F;
    /// x * 2^n for whole n from -126 to 0.
    fn scale(self, x: Self::F, n: Self::F) -> Self::F;
    /// The first `count` places of a, zero elsewhere.
    fn first(self, a: Self::F, count: usize) -> Self::F;
    /// The sum of all places.
    fn sum(self, a: Self::F) -> f32;
    /// The largest of all places.
    fn largest(self, a: Self::F) -> f32;

    /// Writes the transpose of a square of [`Lanes::WIDTH`] numbers.
    ///
    /// # Safety
    /// As many rows of as many numbers can be read at `from` (`from_step` apart) and written at `to`.
    unsafe fn transpose(self, from: *const f32, from_step: usize, to: *mut f32, to_step: usize);

    /// e^x for x from -87 to 0, to within two units of the last place (Cephes `expf`).
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        let x = self.max(x, self.splat(-87.0));
        let n = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, so that the difference is exact.
        let r = self.fma(n, self.splat(-0.693_359_4), x);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.fma(p, r, self.splat(c));
        }
        let p = self.add(self.fma(p, self.mul(r, r), r), self.splat(1.0));
        self.scale(p, n)
    }

    /// The exact gelu, x times the normal distribution function of x; the error function by Abramowitz and Stegun
    /// 7.1.26, whose error is below 2e-7.
    #[inline(always)]
    fn gelu(self, x: Self::F) -> Self::F {
        let z = self.mul(self.abs(x), self.splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = self.reciprocal(self.fma(z, self.splat(0.327_591_1), self.splat(1.0)));
        let mut p = self.splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = self.fma(p, t, self.splat(c));
        }
        let square = self.sub(self.splat(0.0), self.mul(z, z));
        // 1 - erf(z)
        let rest = self.mul(self.mul(p, t), self.exp(square));
        let part = self.mul(self.mul(x, self.splat(0.5)), rest);
        self.by_sign(x, part, self.sub(x, part))
    }
}

/// Products of rows with weights that are stored in some number format.
pub(super) trait Product: Copy {
    /// The unit for everything that is float32.
    type Unit: Lanes;
    /// What one place of a weight register holds: one float32, or two bf16 that are multiplied and added as a pair.
    type Number: Copy + Default;
    /// A register of weights.
    type W: Copy;
    /// float32 in one [`Product::Number`].
    const PAIR: usize;

    /// The float32 unit.
    fn unit(self) -> Self::Unit;
    /// Does this work in a function compiled for the unit with its products.
    fn run_product(self, work: impl Work<Self>);
    /// This number in every place.
    fn splat_number(self, x: Self::Number) -> Self::W;
    /// Reads a register of weights.
    ///
    /// # Safety
    /// [`Lanes::WIDTH`] numbers can be read at `from`.
    unsafe fn load_numbers(self, from: *const Self::Number) -> Self::W;
    /// sums + a * b, place by place; of a pair both products are added.
    fn accumulate(self, sums: F<Self>, a: Self::W, b: Self::W) -> F<Self>;
    /// Writes a register of float32 as the numbers that hold the row's elements from `element` on.
    ///
    /// # Safety
    /// The row at `to` holds [`Lanes::WIDTH`] elements from `element` on, `element` is a multiple of that.
    unsafe fn store_narrow(self, to: *mut Self::Number, element: usize, x: F<Self>);
    /// The number that holds these [`Product::PAIR`] elements.
    fn pack(elements: &[f32]) -> Self::Number;
}

/// The float32 register of a product.
pub(super) type F<P> = <<P as Product>::Unit as Lanes>::F;

/// Every float32 unit multiplies weights stored as float32.
impl<L: Lanes> Product for L {
    type Unit = L;
    type Number = f32;
    type W = L::F;
    const PAIR: usize = 1;

    #[inline(always)]
    fn unit(self) -> L {
        self
    }

    fn run_product(self, work: impl Work<L>) {
        self.run(work);
    }

    #[inline(always)]
    fn splat_number(self, x: f32) -> L::F {
        self.splat(x)
    }

    #[inline(always)]
    unsafe fn load_numbers(self, from: *const f32) -> L::F {
        // SAFETY: the caller's promise.
        unsafe { self.load(from) }
    }

    #[inline(always)]
    fn accumulate(self, sums: L::F, a: L::F, b: L::F) -> L::F {
        self.fma(a, b, sums)
    }

    #[inline(always)]
    unsafe fn store_narrow(self, to: *mut f32, element: usize, x: L::F) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to.add(element), x) }
    }

    fn pack(elements: &[f32]) -> f32 {
        elements[0]
    }
}
