//! AVX-512: sixteen float32 in a register, thirty-two registers; with BF16, thirty-two bf16 weights in a register.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm256_storeu_si256, _mm512_abs_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_cmp_ps_mask,
    _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_blend_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_rcp14_ps, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};
use std::mem::transmute;

use super::lanes::{Lanes, Product, Work};

/// A processor with AVX-512 F, DQ, BW and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// A processor with AVX-512 BF16 as well.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16(Avx512);

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

impl Avx512Bf16 {
    pub(super) fn detect() -> Option<Self> {
        Avx512::detect().filter(|_| is_x86_feature_detected!("avx512bf16")).map(Self)
    }
}

// SAFETY of every block below: the value exists only where the processor has the features of the intrinsics, and
// what pointers must allow is asked of the caller.
impl Lanes for Avx512 {
    type F = __m512;
    const WIDTH: usize = 16;
    // 8 * 3 sums, 3 registers of weights and one of the row's number: 28 of 32.
    const ROWS: usize = 8;
    const COLUMNS: usize = 3;

    fn run(self, work: impl Work<Self>) {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,fma")]
        fn compiled(unit: Avx512, work: impl Work<Avx512>) {
            work.on(unit);
        }
        // SAFETY: `self` exists only where the processor has these features.
        unsafe { compiled(self, work) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn reciprocal(self, a: __m512) -> __m512 {
        unsafe {
            // The estimate has 14 bits; one step of Newton's doubles them.
            let estimate = _mm512_rcp14_ps(a);
            _mm512_mul_ps(estimate, _mm512_fnmadd_ps(a, estimate, _mm512_set1_ps(2.0)))
        }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn by_sign(self, x: __m512, below: __m512, above: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), above, below) }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(x, n) }
    }

    #[inline(always)]
    fn first(self, a: __m512, count: usize) -> __m512 {
        let mask = if count >= 16 { u16::MAX } else { (1 << count) - 1 };
        unsafe { _mm512_maskz_mov_ps(mask, a) }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        unsafe {
            let zero = _mm512_setzero_ps();
            let (mut r, mut t) = ([zero; 16], [zero; 16]);
            for (i, row) in r.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(i * from_step));
            }
            // Pairs of numbers, then pairs of pairs, then quarters of registers.
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                for j in 0..2 {
                    let (a, b) = (_mm512_castps_pd(t[4 * i + j]), _mm512_castps_pd(t[4 * i + j + 2]));
                    r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[4 + i]);
                t[4 + i] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[4 + i]);
                t[8 + i] = _mm512_shuffle_f32x4::<0x88>(r[8 + i], r[12 + i]);
                t[12 + i] = _mm512_shuffle_f32x4::<0xdd>(r[8 + i], r[12 + i]);
            }
            for i in 0..8 {
                _mm512_storeu_ps(to.add(i * to_step), _mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]));
                _mm512_storeu_ps(to.add((i + 8) * to_step), _mm512_shuffle_f32x4::<0xdd>(t[i], t[8 + i]));
            }
        }
    }
}

impl Product for Avx512Bf16 {
    type Unit = Avx512;
    type Number = u32;
    type W = __m512i;
    const PAIR: usize = 2;

    #[inline(always)]
    fn unit(self) -> Avx512 {
        self.0
    }

    fn run_product(self, work: impl Work<Self>) {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma")]
        fn compiled(unit: Avx512Bf16, work: impl Work<Avx512Bf16>) {
            work.on(unit);
        }
        // SAFETY: `self` exists only where the processor has these features.
        unsafe { compiled(self, work) }
    }

    #[inline(always)]
    fn splat_number(self, x: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(x.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn load_numbers(self, from: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn accumulate(self, sums: __m512, a: __m512i, b: __m512i) -> __m512 {
        // The bits are the same; the intrinsic only wants them under another type.
        unsafe { _mm512_dpbf16_ps(sums, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b)) }
    }

    #[inline(always)]
    unsafe fn store_narrow(self, to: *mut u32, element: usize, x: __m512) {
        unsafe {
            let halves = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(to.cast::<u16>().add(element).cast(), halves);
        }
    }

    fn pack(elements: &[f32]) -> u32 {
        // Rounded to the nearest, ties to even, as the processor does with activations.
        let half = |x: f32| (x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) >> 16;
        half(elements[0]) | half(elements[1]) << 16
    }
}
