//! Rows in two planes of nibbles: a look-up reads the high one, and of the low one what may matter.
//!
//! A scan is bound by memory, so half of every row stays where it is. A number is `n = 16 h + l` with `h` from -8 to
//! 7 and `l` from 0 to 15. With `c = 7.5`, the middle of `l`, a dot product is
//!
//! `q . n = (16 q . h + c sum(q)) + q . (l - c)`
//!
//! where the high plane gives the bracket, and the rest is at most `|q| |l - c|` (Cauchy and Schwarz). The last
//! factor is a number a row, about a tenth of the row's length. Where even the greatest rest leaves a row below what
//! is sought, its low plane is not read; where it does not, the low plane gives the sum that is missing, and the dot
//! product is the same whole number as of the undivided row.
//!
//! Sixteen rows make a block. It holds the first four bytes of each, then the next four of each, and so on: a unit of
//! sixteen lanes adds up sixteen rows side by side, and there is nothing left to add across.

use super::kernels::{self, Row, Unit};
use super::quantised::{Coarse, WIDTH};

/// Rows of a block.
pub(super) const LANES: usize = 16;
/// Words of a row in a plane: four bytes, eight nibbles.
pub(super) const WORDS: usize = WIDTH / 8;

/// One plane of sixteen rows. Byte `b` of word `w` has the nibble of number `8 w + b` below and of `8 w + 4 + b` above.
/// Nibbles have no sign: of the high plane they are `h + 8`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(super) struct Block(pub(super) [[[u8; 4]; LANES]; WORDS]);

/// A number for each row of a block.
pub(super) type Sums = [i32; LANES];

/// Rows, what they are worth and whose they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    high: Vec<Block>,
    low: Vec<Block>,
    scales: Vec<[f32; LANES]>,
    /// `|l - c|` times the scale, a thousandth too great. That is at least four millionths of the greatest length that
    /// the row can have (no `l - c` is less than a half), eight times what rounding does to the sums it is added to.
    rests: Vec<[f32; LANES]>,
    ids: Vec<u32>,
}

impl Rows {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let blocks = rows.div_ceil(LANES);
        Self {
            high: Vec::with_capacity(blocks),
            low: Vec::with_capacity(blocks),
            scales: Vec::with_capacity(blocks),
            rests: Vec::with_capacity(blocks),
            ids: Vec::with_capacity(rows),
        }
    }

    /// One row, with room for no more.
    pub(super) fn of(id: u32, vector: &Coarse) -> Self {
        let mut rows = Self::with_capacity(1);
        rows.push(id, vector);
        rows
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The place of one more row: its block and its lane.
    fn next(&mut self) -> (usize, usize) {
        let (block, lane) = (self.ids.len() / LANES, self.ids.len() % LANES);
        if lane == 0 {
            self.high.push(Block([[[0; 4]; LANES]; WORDS]));
            self.low.push(Block([[[0; 4]; LANES]; WORDS]));
            self.scales.push([0.0; LANES]);
            self.rests.push([0.0; LANES]);
        }
        (block, lane)
    }

    pub(super) fn push(&mut self, id: u32, vector: &Coarse) {
        let (block, lane) = self.next();
        let (high, low) = (&mut self.high[block].0, &mut self.low[block].0);
        let mut square = 0.0;
        for (at, number) in vector.numbers.iter().enumerate() {
            let (word, byte, shift) = (at / 8, at % 4, at % 8 / 4 * 4);
            // `n + 128 = 16 (h + 8) + l`.
            let number = number.cast_unsigned() ^ 0x80;
            high[word][lane][byte] |= number >> 4 << shift;
            low[word][lane][byte] |= (number & 15) << shift;
            square += (f32::from(number & 15) - 7.5).powi(2);
        }
        self.scales[block][lane] = vector.scale;
        self.rests[block][lane] = square.sqrt() * vector.scale * 1.001;
        self.ids.push(id);
    }

    /// Copies the rows of others for which `wanted` says so, whole blocks at once where it can.
    pub(super) fn extend(&mut self, from: &Self, wanted: impl Fn(usize) -> bool) {
        for (block, ids) in from.ids.chunks(LANES).enumerate() {
            let wanted = |lane: &usize| wanted(LANES * block + lane);
            if self.ids.len().is_multiple_of(LANES) && ids.len() == LANES && (0..LANES).all(|lane| wanted(&lane)) {
                self.high.push(from.high[block]);
                self.low.push(from.low[block]);
                self.scales.push(from.scales[block]);
                self.rests.push(from.rests[block]);
                self.ids.extend_from_slice(ids);
                continue;
            }
            for lane in (0..ids.len()).filter(wanted) {
                let (to, place) = self.next();
                for (to, from) in [(&mut self.high[to], &from.high[block]), (&mut self.low[to], &from.low[block])] {
                    to.0.iter_mut().zip(&from.0).for_each(|(to, from)| to[place] = from[lane]);
                }
                self.scales[to][place] = from.scales[block][lane];
                self.rests[to][place] = from.rests[block][lane];
                self.ids.push(ids[lane]);
            }
        }
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.high.shrink_to_fit();
        self.low.shrink_to_fit();
        self.scales.shrink_to_fit();
        self.rests.shrink_to_fit();
        self.ids.shrink_to_fit();
    }

    /// Bytes that they occupy.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Block>() * (self.high.capacity() + self.low.capacity())
            + size_of::<[f32; LANES]>() * (self.scales.capacity() + self.rests.capacity())
            + size_of::<u32>() * self.ids.capacity()
    }
}

/// What is sought, and what of it is the same for every row.
#[derive(Clone, Debug)]
pub(super) struct Query {
    unit: Unit,
    numbers: Row,
    scale: f32,
    sum: i32,
    length: f32,
}

impl Query {
    pub(super) fn new(unit: Unit, Coarse { numbers, scale }: Coarse) -> Self {
        let sum = numbers.iter().map(|q| i32::from(*q)).sum();
        let square: i32 = numbers.iter().map(|q| i32::from(*q).pow(2)).sum();
        Self { unit, numbers, scale, sum, length: (square as f32).sqrt() * scale }
    }

    /// The sums of the high plane, a row of `out` for every block; how many blocks there are.
    pub(super) fn scan(&self, rows: &Rows, out: &mut [Sums]) -> usize {
        kernels::dots(self.unit, &self.numbers, &rows.high, &mut out[..rows.high.len()]);
        rows.high.len()
    }

    /// Whether a row of this block can have a cosine above `least`, by its sum of the high plane.
    pub(super) fn may_exceed(&self, least: f32, rows: &Rows, block: usize, high: &Sums) -> bool {
        // 16 (h + 8) - 128 + 7.5, doubled.
        let (half, surplus) = (0.5 * self.scale, 241 * self.sum);
        let (scales, rests) = (&rows.scales[block], &rows.rests[block]);
        // All are compared, side by side: that costs less than a jump after each.
        let mut above = 0;
        for (lane, high) in high.iter().enumerate() {
            let middle = (32 * high - surplus) as f32 * half * scales[lane];
            above += u32::from(middle + rests[lane] * self.length > least);
        }
        above > 0
    }

    /// The cosines of this block's rows, as far as a byte a number tells: the dot product of the whole numbers, times
    /// the scales.
    pub(super) fn cosines(&self, rows: &Rows, block: usize, high: &Sums) -> [f32; LANES] {
        let mut low = [[0; LANES]];
        kernels::dots(self.unit, &self.numbers, &rows.low[block..=block], &mut low);
        let mut cosines = [0.0; LANES];
        for (lane, cosine) in cosines.iter_mut().enumerate() {
            let sum = 16 * high[lane] + low[0][lane] - 128 * self.sum;
            *cosine = sum as f32 * rows.scales[block][lane] * self.scale;
        }
        cosines
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coarse() -> impl Strategy<Value = Coarse> {
        let number = prop_oneof![Just(-127_i8), Just(127), Just(0), Just(-1), -127..=127_i8];
        (proptest::collection::vec(number, WIDTH), 1e-4_f32..0.1)
            .prop_map(|(numbers, scale)| Coarse { numbers: numbers.try_into().expect("as wide"), scale })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn two_planes_give_what_the_row_gives_and_no_less_was_promised(
            vectors in proptest::collection::vec(coarse(), 1..40),
            query in coarse(),
            dropped in 0..40_usize,
        ) {
            let mut all = Rows::with_capacity(vectors.len());
            (0..).zip(&vectors).for_each(|(id, vector)| all.push(id, vector));
            let mut rows = Rows::with_capacity(vectors.len());
            rows.extend(&all, |at| at != dropped);
            rows.extend(&all, |_| true);
            for unit in Unit::available() {
                let query = Query::new(unit, query.clone());
                let mut high = [[0; LANES]; 5];
                let blocks = query.scan(&rows, &mut high);
                prop_assert_eq!(blocks, rows.ids().len().div_ceil(LANES));
                for (block, high) in high[..blocks].iter().enumerate() {
                    let cosines = query.cosines(&rows, block, high);
                    for (id, cosine) in rows.ids()[LANES * block..].iter().zip(cosines) {
                        let Coarse { numbers, scale } = &vectors[*id as usize];
                        let sum: i32 = numbers.iter().zip(&query.numbers).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                        prop_assert_eq!(cosine, sum as f32 * scale * query.scale, "{:?}", unit);
                        prop_assert!(query.may_exceed(cosine.next_down(), &rows, block, high), "{unit:?}");
                    }
                    // No row has a length above 127 * sqrt(384), and no rest one above 8 * sqrt(384).
                    let longest = rows.scales[block].into_iter().fold(0.0, f32::max) * 2_700.0;
                    prop_assert!(!query.may_exceed(longest * query.length, &rows, block, high), "{unit:?}");
                }
            }
        }
    }
}
