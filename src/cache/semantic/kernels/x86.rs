//! AVX2, and AVX-512 with VNNI.
//!
//! The loops count: `zip` is not always inlined, and a call in the innermost costs more than what it does.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_srli_epi16, _mm512_add_epi32, _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srai_epi32,
};
use std::mem::transmute;

use super::{Row, fours};
use crate::cache::semantic::planes::{Block, LANES, Sums, WORDS};

/// One word of sixteen rows: a line of memory.
type Line = [[u8; 4]; LANES];

/// Blocks asked for ahead of the one that is multiplied: far enough for memory, near enough for the first cache.
const AHEAD: usize = 2;

/// Asks for the line that will be read so many blocks later. Beyond the last block that is no access.
#[inline]
#[target_feature(enable = "sse")]
fn ask(ahead: usize, line: &Line) {
    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast::<i8>().wrapping_add(ahead * size_of::<Block>()));
}

/// Two blocks side by side, so that the sums of one need not wait for each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn avx512_vnni(query: &Row, blocks: &[Block], out: &mut [Sums]) {
    let ((twos, rest), (out_twos, out_rest)) = (blocks.as_chunks::<2>(), out.as_chunks_mut::<2>());
    for (at, blocks) in twos.iter().enumerate() {
        abreast::<2, AHEAD>(query, blocks, &mut out_twos[at]);
    }
    for (at, block) in rest.as_chunks::<1>().0.iter().enumerate() {
        abreast::<1, 0>(query, block, &mut out_rest.as_chunks_mut::<1>().0[at]);
    }
}

/// The instruction multiplies unsigned by signed numbers, four to a lane. Upper nibbles stay where they are, which
/// makes them sixteen times what they are, and the sum with them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn abreast<const N: usize, const AHEAD: usize>(query: &Row, blocks: &[Block; N], out: &mut [Sums; N]) {
    // SAFETY: both are 64 bytes of which every pattern is a value.
    let load = |line: &Line| unsafe { transmute::<Line, __m512i>(*line) };
    let (below, above) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0xf0_u8.cast_signed()));
    let mut sums = [[_mm512_setzero_si512(); 2]; N];
    for word in 0..WORDS {
        let (lower, upper) = fours(query, word);
        let (lower, upper) = (_mm512_set1_epi32(lower), _mm512_set1_epi32(upper));
        for (at, [low, high]) in sums.iter_mut().enumerate() {
            let line = &blocks[at].0[word];
            ask(AHEAD, line);
            let line = load(line);
            *low = _mm512_dpbusd_epi32(*low, _mm512_and_si512(line, below), lower);
            *high = _mm512_dpbusd_epi32(*high, _mm512_and_si512(line, above), upper);
        }
    }
    for (at, [low, high]) in sums.iter().enumerate() {
        let sums = _mm512_add_epi32(*low, _mm512_srai_epi32::<4>(*high));
        // SAFETY: both are sixteen whole numbers.
        out[at] = unsafe { transmute::<__m512i, Sums>(sums) };
    }
}

/// `maddubs` multiplies unsigned by signed numbers and adds two products in 16 bits: at most 2 * 15 * 127, of which
/// eight still fit.
#[target_feature(enable = "avx2,sse")]
pub(super) fn avx2(query: &Row, blocks: &[Block], out: &mut [Sums]) {
    // SAFETY: both are 32 bytes of which every pattern is a value.
    let load = |eight: &[[u8; 4]; 8]| unsafe { transmute::<[[u8; 4]; 8], __m256i>(*eight) };
    let ahead = if blocks.len() > 1 { AHEAD } else { 0 };
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    for (at, block) in blocks.iter().enumerate() {
        let mut sums = [_mm256_setzero_si256(); 2];
        for (four, lines) in block.0.as_chunks::<4>().0.iter().enumerate() {
            let mut products = [_mm256_setzero_si256(); 2];
            for (word, line) in lines.iter().enumerate() {
                ask(ahead, line);
                let (lower, upper) = fours(query, 4 * four + word);
                let (lower, upper) = (_mm256_set1_epi32(lower), _mm256_set1_epi32(upper));
                for (half, eight) in line.as_chunks::<8>().0.iter().enumerate() {
                    let bytes = load(eight);
                    let below = _mm256_maddubs_epi16(_mm256_and_si256(bytes, nibble), lower);
                    let above = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
                    let above = _mm256_maddubs_epi16(above, upper);
                    products[half] = _mm256_add_epi16(products[half], _mm256_add_epi16(below, above));
                }
            }
            for (half, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products[half], ones));
            }
        }
        // SAFETY: both are sixteen whole numbers.
        out[at] = unsafe { transmute::<[__m256i; 2], Sums>(sums) };
    }
}
