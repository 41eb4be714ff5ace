//! NEON.

use std::arch::aarch64::{
    int32x4_t, uint8x16_t, vandq_u8, vdupq_n_s16, vdupq_n_s32, vdupq_n_u8, vget_low_s8, vmlal_high_s8, vmlal_s8,
    vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s32, vreinterpretq_s8_u8, vshrq_n_u8,
};
use std::mem::transmute;

use super::{Row, fours};
use crate::cache::semantic::planes::{Block, Sums};

/// Four rows at a time. Products are added up in 16 bits: sixteen, of at most 15 * 127 each, fit.
#[target_feature(enable = "neon")]
pub(super) fn neon(query: &Row, blocks: &[Block], out: &mut [Sums]) {
    // SAFETY: both are 16 bytes of which every pattern is a value.
    let load = |four: &[[u8; 4]; 4]| unsafe { transmute::<[[u8; 4]; 4], uint8x16_t>(*four) };
    let nibble = vdupq_n_u8(15);
    for (at, block) in blocks.iter().enumerate() {
        // Of every two rows.
        let mut sums = [vdupq_n_s32(0); 8];
        for (eight, lines) in block.0.as_chunks::<8>().0.iter().enumerate() {
            let mut products = [vdupq_n_s16(0); 8];
            for (word, line) in lines.iter().enumerate() {
                let (lower, upper) = fours(query, 8 * eight + word);
                let lower = vreinterpretq_s8_s32(vdupq_n_s32(lower));
                let upper = vreinterpretq_s8_s32(vdupq_n_s32(upper));
                for (four, [first, second]) in products.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let bytes = load(&line.as_chunks::<4>().0[four]);
                    let below = vreinterpretq_s8_u8(vandq_u8(bytes, nibble));
                    let above = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
                    *first = vmlal_s8(*first, vget_low_s8(below), vget_low_s8(lower));
                    *first = vmlal_s8(*first, vget_low_s8(above), vget_low_s8(upper));
                    *second = vmlal_high_s8(*second, below, lower);
                    *second = vmlal_high_s8(*second, above, upper);
                }
            }
            for (two, sum) in sums.iter_mut().enumerate() {
                *sum = vpadalq_s16(*sum, products[two]);
            }
        }
        for (four, [first, second]) in sums.as_chunks::<2>().0.iter().enumerate() {
            // SAFETY: both are four whole numbers.
            let four_sums = unsafe { transmute::<int32x4_t, [i32; 4]>(vpaddq_s32(*first, *second)) };
            out[at].as_chunks_mut::<4>().0[four] = four_sums;
        }
    }
}
