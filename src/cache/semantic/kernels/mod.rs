//! Dot products of one int8 vector with many, by the vector unit of this processor: the cache's island of `unsafe`.
//!
//! Why it is worth it: a look-up among 100,000 entries reads 38 MB; plain Rust over float32 takes 5 ms for what int8
//! on AVX2 or AVX-512 does in one. All units give the same whole numbers, so which one runs never changes an answer.
//!
//! How it stays safe: the only entry is [`dots`], which compares the lengths first and asks the processor before it
//! calls a `#[target_feature]` function; those read through slices cut into arrays of one row, so that no pointer
//! leaves its row.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::quantised::WIDTH;

/// One row, or a query: [`WIDTH`] numbers from -127 to 127. -128 is never written, so that a product of two always
/// has room beside another in 16 bits.
pub(super) type Row = [i8; WIDTH];

/// What computes the dot products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// AVX-512 with VNNI: 64 products and their sum in one instruction.
    Avx512Vnni,
    /// AVX2: 32 products in two.
    Avx2,
    /// NEON: 16 products in two.
    Neon,
    /// No unit of its own; what the compiler makes of a loop.
    Scalar,
}

impl Unit {
    /// The units of this processor, the fastest first. Never empty: the loop always works.
    #[must_use]
    pub fn available() -> Vec<Self> {
        [Self::Avx512Vnni, Self::Avx2, Self::Neon, Self::Scalar].into_iter().filter(|unit| unit.is_there()).collect()
    }

    /// The fastest unit of this processor.
    #[must_use]
    pub fn fastest() -> Self {
        static FASTEST: std::sync::OnceLock<Unit> = std::sync::OnceLock::new();
        *FASTEST.get_or_init(|| Self::available()[0])
    }

    fn is_there(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Scalar => true,
            #[cfg(not(all(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => false,
        }
    }
}

/// The dot products of `query` with every row, into `out`. A unit that is not there is replaced by the plain loop.
///
/// # Panics
/// If `rows` and `out` are not equally long.
pub(super) fn dots(unit: Unit, query: &Row, rows: &[Row], out: &mut [i32]) {
    assert_eq!(rows.len(), out.len(), "one sum a row");
    if !unit.is_there() {
        return scalar(query, rows, out);
    }
    match unit {
        // SAFETY: the processor was just asked for the features that the function is compiled for.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512Vnni => unsafe { x86::avx512_vnni(query, rows, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => unsafe { x86::avx2(query, rows, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Unit::Neon => unsafe { neon::neon(query, rows, out) },
        _ => scalar(query, rows, out),
    }
}

fn scalar(query: &Row, rows: &[Row], out: &mut [i32]) {
    for (row, sum) in rows.iter().zip(out) {
        *sum = row.iter().zip(query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(count: usize) -> impl Strategy<Value = Vec<Row>> {
        let number = prop_oneof![Just(-127_i8), Just(127), Just(0), -127..=127_i8];
        proptest::collection::vec(number, count * WIDTH).prop_map(|numbers| numbers.as_chunks::<WIDTH>().0.to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_unit_gives_the_same_whole_numbers(rows in (0..7_usize).prop_flat_map(rows), query in rows(1)) {
            let expected: Vec<i64> = rows
                .iter()
                .map(|row| row.iter().zip(&query[0]).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum())
                .collect();
            for unit in Unit::available() {
                let mut sums = vec![0; rows.len()];
                dots(unit, &query[0], &rows, &mut sums);
                prop_assert_eq!(sums.into_iter().map(i64::from).collect::<Vec<_>>(), expected.clone(), "{:?}", unit);
            }
        }
    }

    #[test]
    fn the_greatest_sums_do_not_overflow() {
        for (a, b) in [(127_i8, 127_i8), (-127, 127), (-127, -127)] {
            for unit in Unit::available() {
                let mut sum = [0];
                dots(unit, &[a; WIDTH], &[[b; WIDTH]], &mut sum);
                assert_eq!(sum[0], i32::from(a) * i32::from(b) * 384, "{unit:?}");
            }
        }
    }
}
