//! AVX2, and AVX-512 with VNNI.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi128_si32, _mm_prefetch, _mm_shuffle_epi32, _mm256_abs_epi8,
    _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32,
    _mm512_set1_epi8, _mm512_setzero_si512, _mm512_xor_si512,
};
use std::mem::transmute;

use super::Row;
use crate::cache::semantic::quantised::WIDTH;

/// Rows read ahead of the one that is multiplied: far enough for memory, near enough for the first cache.
const AHEAD: usize = 8;

/// Asks for the row `AHEAD` of this one. A prefetch of an address beyond the end is no access.
#[inline]
#[target_feature(enable = "sse")]
fn ask_ahead(row: &Row) {
    let far = row.as_ptr().wrapping_add(AHEAD * WIDTH);
    for line in 0..WIDTH / 64 {
        _mm_prefetch::<_MM_HINT_T0>(far.wrapping_add(64 * line));
    }
}

/// The instruction multiplies unsigned by signed numbers. A row's number `r` read as `r + 128` (its top bit turned)
/// is unsigned, and the sum is then too great by 128 times the sum of the query, which is the same for every row.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn avx512_vnni(query: &Row, rows: &[Row], out: &mut [i32]) {
    const PARTS: usize = WIDTH / 64;
    let surplus = 128 * query.iter().map(|q| i32::from(*q)).sum::<i32>();
    let load = |row: &Row, part: usize| {
        let (parts, _) = row.as_chunks::<64>();
        // SAFETY: both are 64 bytes of which every pattern is a value; the compiler makes one unaligned load of it.
        unsafe { transmute::<[i8; 64], __m512i>(parts[part]) }
    };
    let query: [__m512i; PARTS] = std::array::from_fn(|part| load(query, part));
    let top = _mm512_set1_epi8(i8::MIN);
    for (row, sum) in rows.iter().zip(out) {
        ask_ahead(row);
        let mut sums = [_mm512_setzero_si512(); 2];
        for (part, query) in query.iter().enumerate() {
            let unsigned = _mm512_xor_si512(load(row, part), top);
            sums[part % 2] = _mm512_dpbusd_epi32(sums[part % 2], unsigned, *query);
        }
        *sum = _mm512_reduce_add_epi32(sums[0]) + _mm512_reduce_add_epi32(sums[1]) - surplus;
    }
}

/// `maddubs` multiplies unsigned by signed numbers: the sign of the row goes over to the query. Two products add up
/// to at most 2 * 127 * 127, which 16 bits hold.
#[target_feature(enable = "avx2,sse")]
pub(super) fn avx2(query: &Row, rows: &[Row], out: &mut [i32]) {
    const PARTS: usize = WIDTH / 32;
    let load = |row: &Row, part: usize| {
        let (parts, _) = row.as_chunks::<32>();
        // SAFETY: both are 32 bytes of which every pattern is a value; the compiler makes one unaligned load of it.
        unsafe { transmute::<[i8; 32], __m256i>(parts[part]) }
    };
    let query: [__m256i; PARTS] = std::array::from_fn(|part| load(query, part));
    let ones = _mm256_set1_epi16(1);
    for (row, sum) in rows.iter().zip(out) {
        ask_ahead(row);
        let mut sums = [_mm256_setzero_si256(); 2];
        for (part, query) in query.iter().enumerate() {
            let row = load(row, part);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(*query, row));
            sums[part % 2] = _mm256_add_epi32(sums[part % 2], _mm256_madd_epi16(pairs, ones));
        }
        let eight = _mm256_add_epi32(sums[0], sums[1]);
        let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        *sum = _mm_cvtsi128_si32(one);
    }
}
