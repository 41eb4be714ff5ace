//! NEON.

use std::arch::aarch64::{
    int8x16_t, vaddq_s32, vaddvq_s32, vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8, vpadalq_s16,
};

use super::Row;
use crate::cache::semantic::quantised::WIDTH;

/// Sixteen numbers at a time: products in 16 bits (at most 127 * 127), added in pairs to sums of 32.
#[target_feature(enable = "neon")]
pub(super) fn neon(query: &Row, rows: &[Row], out: &mut [i32]) {
    const PARTS: usize = WIDTH / 16;
    let load = |row: &Row, part: usize| {
        let (parts, _) = row.as_chunks::<16>();
        // SAFETY: the array has the 16 bytes that are read.
        unsafe { vld1q_s8(parts[part].as_ptr()) }
    };
    let query: [int8x16_t; PARTS] = std::array::from_fn(|part| load(query, part));
    for (row, sum) in rows.iter().zip(out) {
        let (mut low, mut high) = (vdupq_n_s32(0), vdupq_n_s32(0));
        for (part, query) in query.iter().enumerate() {
            let row = load(row, part);
            low = vpadalq_s16(low, vmull_s8(vget_low_s8(row), vget_low_s8(*query)));
            high = vpadalq_s16(high, vmull_high_s8(row, *query));
        }
        *sum = vaddvq_s32(vaddq_s32(low, high));
    }
}
