//! Dot products of one vector with many rows of nibbles, by the vector unit of this processor: the cache's island of
//! `unsafe`.
//!
//! Why it is worth it: a look-up among 100,000 entries reads 19 MB of them; plain Rust over float32 reads 154, and
//! takes several times as long. All units give the same whole numbers, so which one runs never changes an answer.
//!
//! How it stays safe: the only entry is [`dots`], which compares the lengths first and asks the processor before it
//! calls a `#[target_feature]` function; those read through blocks cut into arrays of one register, so that no pointer
//! leaves its block.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::planes::{Block, LANES, Sums};
use super::quantised::WIDTH;

/// A query: [`WIDTH`] numbers from -127 to 127.
pub(super) type Row = [i8; WIDTH];

/// What computes the dot products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// AVX-512 with VNNI: 64 products and their sums in one instruction.
    Avx512Vnni,
    /// AVX2: 32 products in one, their sums in another.
    Avx2,
    /// NEON: 8 products in one.
    Neon,
    /// No unit of its own; what the compiler makes of a loop.
    Scalar,
}

impl Unit {
    /// The units of this processor, the fastest first. Never empty: the loop always works.
    ///
    /// AVX2 stands before AVX-512, which is faster only in what the caches hold: it reads two blocks side by side, and
    /// memory serves one stream faster (among a million rows in half the time).
    #[must_use]
    pub fn available() -> Vec<Self> {
        [Self::Avx2, Self::Avx512Vnni, Self::Neon, Self::Scalar].into_iter().filter(|unit| unit.is_there()).collect()
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

/// The dot products of `query` with the nibbles of every row, into `out`. A unit that is not there is replaced by the
/// plain loop.
///
/// # Panics
/// If `blocks` and `out` are not equally long.
pub(super) fn dots(unit: Unit, query: &Row, blocks: &[Block], out: &mut [Sums]) {
    assert_eq!(blocks.len(), out.len(), "one sum a row");
    if !unit.is_there() {
        return scalar(query, blocks, out);
    }
    match unit {
        // SAFETY: the processor was just asked for the features that the function is compiled for.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512Vnni => unsafe { x86::avx512_vnni(query, blocks, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => unsafe { x86::avx2(query, blocks, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Unit::Neon => unsafe { neon::neon(query, blocks, out) },
        _ => scalar(query, blocks, out),
    }
}

/// What the lower nibbles of a word are multiplied by, and its upper ones: four numbers as one, to be repeated in every
/// lane.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline]
fn fours(query: &Row, word: usize) -> (i32, i32) {
    let [a, b, c, d, e, f, g, h] = query.as_chunks::<8>().0[word];
    let four = |four: [i8; 4]| {
        let [a, b, c, d] = four;
        i32::from_ne_bytes([a.cast_unsigned(), b.cast_unsigned(), c.cast_unsigned(), d.cast_unsigned()])
    };
    (four([a, b, c, d]), four([e, f, g, h]))
}

fn scalar(query: &Row, blocks: &[Block], out: &mut [Sums]) {
    let (query, _) = query.as_chunks::<8>();
    for (at, block) in blocks.iter().enumerate() {
        let mut sums = [0; LANES];
        for (word, line) in block.0.iter().enumerate() {
            let query = &query[word];
            for (lane, sum) in sums.iter_mut().enumerate() {
                for (byte, pair) in line[lane].iter().enumerate() {
                    let (lower, upper) = (i32::from(query[byte]), i32::from(query[4 + byte]));
                    *sum += i32::from(pair & 15) * lower + i32::from(pair >> 4) * upper;
                }
            }
        }
        out[at] = sums;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::semantic::planes::WORDS;

    fn blocks(count: usize) -> impl Strategy<Value = Vec<Block>> {
        let bytes = prop_oneof![Just(0_u8), Just(0xff), any::<u8>()];
        proptest::collection::vec(bytes, count * 4 * LANES * WORDS).prop_map(|bytes| {
            let lines = bytes.as_chunks::<4>().0.as_chunks::<LANES>().0;
            lines.as_chunks::<WORDS>().0.iter().map(|lines| Block(*lines)).collect()
        })
    }

    fn query() -> impl Strategy<Value = Row> {
        let number = prop_oneof![Just(-127_i8), Just(127), Just(0), -127..=127_i8];
        proptest::collection::vec(number, WIDTH).prop_map(|numbers| numbers.try_into().expect("as wide"))
    }

    /// Number by number, as a block says of itself.
    fn dot(query: &Row, block: &Block, lane: usize) -> i64 {
        let nibble = |at: usize| block.0[at / 8][lane][at % 4] >> (at % 8 / 4 * 4) & 15;
        query.iter().enumerate().map(|(at, q)| i64::from(*q) * i64::from(nibble(at))).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_unit_gives_the_same_whole_numbers(blocks in (0..7_usize).prop_flat_map(blocks), query in query()) {
            for unit in Unit::available() {
                let mut sums = vec![[0; LANES]; blocks.len()];
                dots(unit, &query, &blocks, &mut sums);
                for (block, sums) in blocks.iter().zip(sums) {
                    let expected: [i64; LANES] = std::array::from_fn(|lane| dot(&query, block, lane));
                    prop_assert_eq!(sums.map(i64::from), expected, "{:?}", unit);
                }
            }
        }
    }

    #[test]
    fn the_greatest_sums_do_not_overflow() {
        for number in [127_i8, -127] {
            for unit in Unit::available() {
                let mut sums = [[0; LANES]; 3];
                dots(unit, &[number; WIDTH], &[Block([[[0xff; 4]; LANES]; WORDS]); 3], &mut sums);
                assert_eq!(sums, [[i32::from(number) * 15 * 384; LANES]; 3], "{unit:?}");
            }
        }
    }
}
