//! A unit vector in one byte a number, as the ledger keeps it: 388 bytes.
//!
//! `x ~ scale * n` with whole numbers `n` from -127 to 127. A coordinate of a projection is a sum over all of them, in
//! which the rounding averages out: contexts made from it are right to about .002.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DIMENSIONS;

/// The scale and the whole numbers of the nearest such vector; a scale of 1 for a vector of zeros. `None` if it has
/// another length or holds what is no number.
#[must_use]
pub fn rounded(vector: &[f32]) -> Option<(f32, [i8; DIMENSIONS])> {
    let vector: &[f32; DIMENSIONS] = vector.try_into().ok().filter(|_| vector.iter().all(|x| x.is_finite()))?;
    let greatest = vector.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
    let scale = if greatest > 0.0 { greatest / 127.0 } else { 1.0 };
    Some((scale, vector.map(|x| (x / scale).round().clamp(-127.0, 127.0) as i8)))
}

/// A vector of [`DIMENSIONS`] numbers, rounded. In JSON it is one word of base64: the scale (f32, little-endian), then
/// the numbers (i8).
#[derive(Clone, Debug, PartialEq)]
pub struct Compact {
    scale: f32,
    numbers: Box<[i8; DIMENSIONS]>,
}

impl Compact {
    /// The nearest such vector. `None` if it has another length or holds what is no number.
    #[must_use]
    pub fn of(vector: &[f32]) -> Option<Self> {
        let (scale, numbers) = rounded(vector)?;
        Some(Self { scale, numbers: Box::new(numbers) })
    }

    /// The numbers.
    #[must_use]
    pub fn vector(&self) -> [f32; DIMENSIONS] {
        self.numbers.map(|n| f32::from(n) * self.scale)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (scale, numbers) = bytes.split_first_chunk::<4>()?;
        let scale = Some(f32::from_le_bytes(*scale)).filter(|scale| scale.is_finite())?;
        let numbers: Vec<i8> = numbers.iter().map(|byte| byte.cast_signed()).collect();
        Some(Self { scale, numbers: numbers.into_boxed_slice().try_into().ok()? })
    }
}

impl Serialize for Compact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers = self.numbers.iter().map(|n| n.cast_unsigned());
        let bytes: Vec<u8> = self.scale.to_le_bytes().into_iter().chain(numbers).collect();
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Compact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("expected a vector of {DIMENSIONS} numbers in base64"));
        BASE64.decode(text.as_bytes()).ok().and_then(|bytes| Self::from_bytes(&bytes)).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_within_its_rounding_and_its_word_to_the_bit() {
        let draw = |i: usize| (crate::base::Seed(7).uniform(&i.to_string()) as f32 - 0.5) / 10.0;
        let vector: Vec<f32> = (0..DIMENSIONS).map(draw).collect();
        let compact = Compact::of(&vector).expect("numbers");
        assert!(compact.vector().iter().zip(&vector).all(|(a, b)| (a - b).abs() <= 0.05 / 254.0 + 1e-9));
        let word = serde_json::to_string(&compact).expect("JSON");
        assert_eq!(word.len(), 520, "388 bytes in base64, and the quotes");
        assert_eq!(serde_json::from_str::<Compact>(&word).expect("a vector"), compact);
        assert!(serde_json::from_str::<Compact>("\"AAAA\"").is_err());
        assert!(Compact::of(&vector[1..]).is_none());
        assert!(Compact::of(&[f32::NAN; DIMENSIONS]).is_none());
    }
}
