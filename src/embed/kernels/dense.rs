//! Linear layers: rows of activations times weights that were laid out once for the vector unit.
//!
//! Weights are cut into strips of as many outputs as are computed together, each strip stored input by input, so that
//! one pass over a strip reads memory in order and the strip stays in the first-level cache while all rows pass by.

use super::lanes::{F, Lanes, Product, Work};

/// y = x W^T + b.
pub(super) struct Dense<P: Product> {
    /// Strip by strip; in a strip input by input (of a pair format: pair by pair); there output by output.
    strips: Vec<P::Number>,
    bias: Vec<f32>,
    /// Numbers in a row of inputs.
    depth: usize,
    outputs: usize,
}

/// Sums of `ROWS` rows and `COLUMNS` registers of columns.
type Sums<P, const ROWS: usize, const COLUMNS: usize> = [[F<P>; COLUMNS]; ROWS];

/// The products of `ROWS` rows at `from` with `COLUMNS` registers of columns at `weights`, summed over `depth` numbers.
///
/// # Safety
/// Every row, `from_step` apart, has `depth` numbers; every number's columns, `weights_step` apart, can be read.
#[inline(always)]
pub(super) unsafe fn block<P: Product, const ROWS: usize, const COLUMNS: usize>(
    simd: P,
    depth: usize,
    (from, from_step): (*const P::Number, usize),
    (weights, weights_step): (*const P::Number, usize),
) -> Sums<P, ROWS, COLUMNS> {
    let mut sums = [[simd.unit().splat(0.0); COLUMNS]; ROWS];
    for i in 0..depth {
        // SAFETY: the caller's promise; `i` is below `depth`.
        unsafe {
            let row = weights.add(i * weights_step);
            let mut columns = [simd.load_numbers(row); COLUMNS];
            for (j, column) in columns.iter_mut().enumerate().skip(1) {
                *column = simd.load_numbers(row.add(j * P::Unit::WIDTH));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = simd.splat_number(*from.add(r * from_step + i));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = simd.accumulate(*sum, x, column);
                }
            }
        }
    }
    sums
}

/// Calls a function with the number of rows as its constant.
macro_rules! with_rows {
    ($rows:expr, $function:ident::<$kind:ty, _ $(, $more:tt)?>($($argument:expr),* $(,)?)) => {
        match $rows {
            1 => $function::<$kind, 1 $(, $more)?>($($argument),*),
            2 => $function::<$kind, 2 $(, $more)?>($($argument),*),
            3 => $function::<$kind, 3 $(, $more)?>($($argument),*),
            4 => $function::<$kind, 4 $(, $more)?>($($argument),*),
            5 => $function::<$kind, 5 $(, $more)?>($($argument),*),
            6 => $function::<$kind, 6 $(, $more)?>($($argument),*),
            7 => $function::<$kind, 7 $(, $more)?>($($argument),*),
            _ => $function::<$kind, 8 $(, $more)?>($($argument),*),
        }
    };
}
pub(super) use with_rows;

/// The next block's rows: at most [`Lanes::ROWS`], and no small rest at the end, for a block of one row costs almost as
/// much as one of four.
#[inline(always)]
pub(super) fn next_rows<L: Lanes>(left: usize) -> usize {
    left.div_ceil(left.div_ceil(L::ROWS))
}

impl<P: Product> Dense<P> {
    /// Outputs in a strip.
    const STRIP: usize = P::Unit::WIDTH * P::Unit::COLUMNS;

    /// Whether a layer of this shape can be laid out.
    pub(super) const fn fits(inputs: usize, outputs: usize) -> bool {
        inputs.is_multiple_of(P::Unit::WIDTH) && outputs.is_multiple_of(Self::STRIP)
    }

    /// Lays out a weight (outputs, inputs) with its bias.
    pub(super) fn new(weight: &[f32], bias: Vec<f32>) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        assert!(Self::fits(inputs, outputs), "a layer of {inputs} to {outputs} cannot be laid out");
        let depth = inputs / P::PAIR;
        let mut strips = Vec::with_capacity(depth * outputs);
        for strip in weight.chunks_exact(Self::STRIP * inputs) {
            for i in 0..depth {
                strips.extend(strip.chunks_exact(inputs).map(|row| P::pack(&row[i * P::PAIR..][..P::PAIR])));
            }
        }
        Self { strips, bias, depth, outputs }
    }

    /// Numbers in a row of outputs.
    pub(super) const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Writes the outputs (rows, outputs) of `from` (rows, inputs).
    pub(super) fn apply(&self, simd: P, from: &[P::Number], to: &mut [f32]) {
        simd.run_product(Apply { dense: self, from, to });
    }

    /// Writes the gelu of the outputs (rows, outputs) of `from` (rows, inputs), in the number format.
    pub(super) fn apply_gelu(&self, simd: P, from: &[P::Number], to: &mut [P::Number]) {
        simd.run_product(ApplyGelu { dense: self, from, to });
    }

    /// # Safety
    /// `rows` rows can be read at `from` and, with `GELU`, written at `narrow`, else at `wide`.
    #[inline(always)]
    unsafe fn run<const GELU: bool>(
        &self,
        simd: P,
        rows: usize,
        from: *const P::Number,
        wide: *mut f32,
        narrow: *mut P::Number,
    ) {
        for (s, strip) in self.strips.chunks_exact(Self::STRIP * self.depth).enumerate() {
            let column = s * Self::STRIP;
            let bias = self.bias[column..][..Self::STRIP].as_ptr();
            let mut row = 0;
            while row < rows {
                let many = next_rows::<P::Unit>(rows - row);
                // SAFETY: `row + many` rows are there, and `column` with a strip's columns is within each.
                unsafe {
                    let part = Part {
                        depth: self.depth,
                        from: from.add(row * self.depth),
                        strip: strip.as_ptr(),
                        bias,
                        wide: wide.wrapping_add(row * self.outputs + column),
                        narrow: narrow.wrapping_add(row * self.outputs / P::PAIR),
                        column,
                        outputs: self.outputs,
                    };
                    with_rows!(many, part_of::<P, _, GELU>(simd, &part));
                }
                row += many;
            }
        }
    }
}

/// A layer over rows.
struct Apply<'a, P: Product> {
    dense: &'a Dense<P>,
    from: &'a [P::Number],
    to: &'a mut [f32],
}

impl<P: Product> Work<P> for Apply<'_, P> {
    #[inline(always)]
    fn on(self, unit: P) {
        let Self { dense, from, to } = self;
        let rows = from.len() / dense.depth;
        assert!(from.len() == rows * dense.depth && to.len() == rows * dense.outputs, "shapes differ");
        // SAFETY: the lengths were just compared; as float32, a row of outputs starts every `outputs`.
        unsafe { dense.run::<false>(unit, rows, from.as_ptr(), to.as_mut_ptr(), std::ptr::null_mut()) }
    }
}

/// A layer over rows, with gelu, into the number format.
struct ApplyGelu<'a, P: Product> {
    dense: &'a Dense<P>,
    from: &'a [P::Number],
    to: &'a mut [P::Number],
}

impl<P: Product> Work<P> for ApplyGelu<'_, P> {
    #[inline(always)]
    fn on(self, unit: P) {
        let Self { dense, from, to } = self;
        let rows = from.len() / dense.depth;
        assert!(from.len() == rows * dense.depth && to.len() * P::PAIR == rows * dense.outputs, "shapes differ");
        // SAFETY: the lengths were just compared; in the format, a row of outputs starts every `outputs / PAIR`.
        unsafe { dense.run::<true>(unit, rows, from.as_ptr(), std::ptr::null_mut(), to.as_mut_ptr()) }
    }
}

/// A block of rows of one strip.
struct Part<P: Product> {
    depth: usize,
    from: *const P::Number,
    strip: *const P::Number,
    bias: *const f32,
    /// Where the strip's first output of the first row goes.
    wide: *mut f32,
    /// Where the first row of outputs starts.
    narrow: *mut P::Number,
    column: usize,
    outputs: usize,
}

/// # Safety
/// As [`Dense::run`], for `ROWS` rows.
#[inline(always)]
unsafe fn part_of<P: Product, const ROWS: usize, const GELU: bool>(simd: P, part: &Part<P>) {
    // The widest unit has three registers of columns, the narrowest two.
    // SAFETY: the caller's promise.
    unsafe {
        match P::Unit::COLUMNS {
            3 => finish::<P, ROWS, 3, GELU>(simd, part),
            _ => finish::<P, ROWS, 2, GELU>(simd, part),
        }
    }
}

/// # Safety
/// As [`Dense::run`], for `ROWS` rows and `COLUMNS` registers of columns.
#[inline(always)]
unsafe fn finish<P: Product, const ROWS: usize, const COLUMNS: usize, const GELU: bool>(simd: P, part: &Part<P>) {
    let (unit, width) = (simd.unit(), P::Unit::WIDTH);
    // SAFETY: the caller's promise.
    unsafe {
        let rows = (part.from, part.depth);
        let sums = block::<P, ROWS, COLUMNS>(simd, part.depth, rows, (part.strip, COLUMNS * width));
        for (r, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let y = unit.add(sum, unit.load(part.bias.add(j * width)));
                if GELU {
                    let row = part.narrow.add(r * part.outputs / P::PAIR);
                    simd.store_narrow(row, part.column + j * width, unit.gelu(y));
                } else {
                    unit.store(part.wide.add(r * part.outputs + j * width), y);
                }
            }
        }
    }
}

/// Writes float32 in the number format.
pub(super) fn narrow<P: Product>(simd: P, from: &[f32], to: &mut [P::Number]) {
    simd.run_product(Narrow { from, to });
}

struct Narrow<'a, N> {
    from: &'a [f32],
    to: &'a mut [N],
}

impl<P: Product> Work<P> for Narrow<'_, P::Number> {
    #[inline(always)]
    fn on(self, unit: P) {
        let Self { from, to } = self;
        assert!(from.len() == to.len() * P::PAIR && from.len().is_multiple_of(P::Unit::WIDTH), "shapes differ");
        for i in (0..from.len()).step_by(P::Unit::WIDTH) {
            // SAFETY: a register's elements are left from `i` on in both.
            unsafe { unit.store_narrow(to.as_mut_ptr(), i, unit.unit().load(from.as_ptr().add(i))) }
        }
    }
}
