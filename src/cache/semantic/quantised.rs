//! Unit vectors in few bytes: one byte a number to search by, two to decide by.
//!
//! A vector is a scale and whole numbers: `x ~ scale * n`. With one byte (`scale` = greatest / 127) the cosine of two
//! such vectors is within .0025 of the true one, good enough to find the nearest few and not to compare with a
//! threshold; with two bytes (greatest / 32,767) it is right to five decimals, at half the size of float32.

use crate::embed::{DIMENSIONS, rounded};

/// Numbers in a vector.
pub(super) const WIDTH: usize = DIMENSIONS;

/// A vector in one byte a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Coarse {
    pub(super) numbers: [i8; WIDTH],
    pub(super) scale: f32,
}

/// A vector in two bytes a number: 772 bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fine {
    numbers: Box<[i16; WIDTH]>,
    scale: f32,
}

impl Coarse {
    /// The nearest such vector. `None` if it has another width or holds what is no number.
    pub(super) fn of(vector: &[f32]) -> Option<Self> {
        rounded(vector).map(|(scale, numbers)| Self { numbers, scale })
    }
}

impl Fine {
    /// The nearest such vector. `None` if it has another width or holds what is no number.
    #[must_use]
    pub fn of(vector: &[f32]) -> Option<Self> {
        let vector: &[f32; WIDTH] = vector.try_into().ok().filter(|_| vector.iter().all(|x| x.is_finite()))?;
        let greatest = vector.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
        let scale = if greatest > 0.0 { greatest / 32_767.0 } else { 1.0 };
        let numbers = Box::new(vector.map(|x| (x / scale).round().clamp(-32_767.0, 32_767.0) as i16));
        Some(Self { numbers, scale })
    }

    /// The cosine with a unit vector.
    #[must_use]
    pub fn cosine(&self, other: &[f32]) -> f64 {
        let sum: f32 = self.numbers.iter().zip(other).map(|(a, b)| f32::from(*a) * b).sum();
        f64::from((sum * self.scale).clamp(-1.0, 1.0))
    }

    /// The vector, to two bytes.
    #[must_use]
    pub fn vector(&self) -> Vec<f32> {
        self.numbers.iter().map(|n| f32::from(*n) * self.scale).collect()
    }

    /// Its bytes: the scale, then the numbers, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.numbers.iter().flat_map(|n| n.to_le_bytes());
        self.scale.to_le_bytes().into_iter().chain(numbers).collect()
    }

    /// Reads [`Fine::to_bytes`]; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (scale, rest) = bytes.split_first_chunk::<4>()?;
        let (numbers, after) = rest.as_chunks::<2>();
        let scale = Some(f32::from_le_bytes(*scale)).filter(|scale| scale.is_finite() && after.is_empty())?;
        let numbers: Vec<i16> = numbers.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        let numbers: Box<[i16; WIDTH]> = numbers.into_boxed_slice().try_into().ok()?;
        Some(Self { numbers, scale })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(seed: u64) -> Vec<f32> {
        let draw = |i: usize| crate::base::Seed(seed).uniform(&i.to_string()) - 0.5;
        let raw: Vec<f64> = (0..WIDTH).map(draw).collect();
        let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
        raw.into_iter().map(|x| (x / length) as f32).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn cosines_are_right_to_five_decimals_and_bytes_come_back(one in any::<u64>(), other in any::<u64>()) {
            let (one, other) = (unit(one), unit(other));
            let exact: f64 = one.iter().zip(&other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let fine = Fine::of(&one).expect("numbers");
            prop_assert!((fine.cosine(&other) - exact).abs() < 1e-5);
            prop_assert!((fine.cosine(&one) - 1.0).abs() < 1e-5);
            prop_assert_eq!(Fine::from_bytes(&fine.to_bytes()), Some(fine));
        }
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        assert!(Coarse::of(&[0.0; 3]).is_none() && Fine::of(&[f32::NAN; WIDTH]).is_none());
        assert_eq!(Fine::of(&[0.0; WIDTH]).expect("zeros").cosine(&unit(1)), 0.0);
        assert_eq!(Fine::from_bytes(&[0; 771]), None);
    }
}
