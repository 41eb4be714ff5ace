//! Attention over texts of their own lengths: nothing is padded, so nothing is masked and nothing computed in vain.
//!
//! In float32 in every format: it is a tenth of the work at 128 tokens, and the scores are where precision counts.

use super::dense::{block, next_rows, with_rows};
use super::lanes::{Lanes, Work};

/// Width of a head; both units divide it.
pub(super) const HEAD: usize = 32;

/// Numbers of scratch for a text of this many tokens.
pub(super) const fn scratch<L: Lanes>(tokens: usize) -> usize {
    (HEAD + L::ROWS) * tokens.next_multiple_of(L::WIDTH)
}

/// Writes what every head reads for some rows of a text.
pub(super) struct Attend<'a> {
    /// Width of all heads together.
    pub(super) width: usize,
    /// Queries, already scaled, keys and values of the text (tokens, 3 * width).
    pub(super) mixed: &'a [f32],
    /// The first of the rows.
    pub(super) first: usize,
    /// Where it is written (rows, width).
    pub(super) to: &'a mut [f32],
    /// At least [`scratch`] numbers.
    pub(super) room: &'a mut [f32],
}

impl<L: Lanes> Work<L> for Attend<'_> {
    #[inline(always)]
    fn on(self, unit: L) {
        let Self { width, mixed, first, to, room } = self;
        let (tokens, rows) = (mixed.len() / (3 * width), to.len() / width);
        assert!(mixed.len() == 3 * tokens * width && to.len() == rows * width, "shapes differ");
        assert!(first + rows <= tokens, "the text has no such rows");
        assert!(width.is_multiple_of(HEAD) && room.len() >= scratch::<L>(tokens) && tokens > 0, "shapes differ");
        for head in (0..width).step_by(HEAD) {
            // SAFETY: every row of `mixed` holds query, key and value of all heads, each `width` wide, and `head` with
            // its width is within that; `room` is as large as `one_head` needs.
            unsafe {
                let mixed = mixed.as_ptr().add(head);
                let text = Text {
                    tokens,
                    rows,
                    padded: tokens.next_multiple_of(L::WIDTH),
                    query: mixed.add(first * 3 * width),
                    key: mixed.add(width),
                    value: mixed.add(2 * width),
                    step: 3 * width,
                    to: to.as_mut_ptr().add(head),
                    to_step: width,
                    keys: room.as_mut_ptr(),
                };
                one_head(unit, &text);
            }
        }
    }
}

/// One head of one text.
struct Text {
    tokens: usize,
    /// Tokens whose queries are asked.
    rows: usize,
    /// Tokens up to a whole register.
    padded: usize,
    /// The first row's query, the first token's key and value; those of the next are `step` further on.
    query: *const f32,
    key: *const f32,
    value: *const f32,
    step: usize,
    to: *mut f32,
    to_step: usize,
    /// Room for the transposed keys (HEAD, padded), and after them for scores (ROWS, padded).
    keys: *mut f32,
}

/// # Safety
/// The pointers allow what [`Text`] says of them.
#[inline(always)]
unsafe fn one_head<L: Lanes>(simd: L, text: &Text) {
    // SAFETY: the caller's promise; rows stay below `rows`.
    unsafe {
        transpose_keys(simd, text);
        let mut row = 0;
        while row < text.rows {
            let many = next_rows::<L>(text.rows - row);
            with_rows!(many, rows_of::<L, _>(simd, text, row));
            row += many;
        }
    }
}

/// # Safety
/// As [`one_head`].
#[inline(always)]
unsafe fn transpose_keys<L: Lanes>(simd: L, text: &Text) {
    // Where the tokens end within a register, the last one is repeated: its scores cannot exceed the largest.
    let mut last = [0.0_f32; 16 * HEAD];
    for token in (0..text.tokens).step_by(L::WIDTH) {
        // SAFETY: a square's rows are tokens of the text, or rows of `last`, which holds the widest register's.
        unsafe {
            let (mut from, mut step) = (text.key.add(token * text.step), text.step);
            if token + L::WIDTH > text.tokens {
                for i in 0..L::WIDTH {
                    let source = text.key.add((token + i).min(text.tokens - 1) * text.step);
                    std::ptr::copy_nonoverlapping(source, last.as_mut_ptr().add(i * HEAD), HEAD);
                }
                (from, step) = (last.as_ptr(), HEAD);
            }
            for column in (0..HEAD).step_by(L::WIDTH) {
                simd.transpose(from.add(column), step, text.keys.add(column * text.padded + token), text.padded);
            }
        }
    }
}

/// Scores, softmax and weighted values of `ROWS` rows from `row` on.
///
/// # Safety
/// As [`one_head`]; the rows are among the text's `rows`.
#[inline(always)]
unsafe fn rows_of<L: Lanes, const ROWS: usize>(simd: L, text: &Text, row: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let scores = text.keys.add(HEAD * text.padded);
        let query = text.query.add(row * text.step);
        let mut column = 0;
        while column < text.padded {
            // As wide as the registers allow, and the rest one by one.
            if L::COLUMNS == 3 && column + 3 * L::WIDTH <= text.padded {
                scores_of::<L, ROWS, 3>(simd, text, query, scores, column);
                column += 3 * L::WIDTH;
            } else {
                scores_of::<L, ROWS, 1>(simd, text, query, scores, column);
                column += L::WIDTH;
            }
        }
        let mut parts = [0.0_f32; ROWS];
        for (r, part) in parts.iter_mut().enumerate() {
            *part = 1.0 / exponentials(simd, text, scores.add(r * text.padded));
        }
        let to = text.to.add(row * text.to_step);
        for column in (0..HEAD).step_by(2 * L::WIDTH) {
            let values = (text.value.add(column), text.step);
            let sums = block::<L, ROWS, 2>(simd, text.tokens, (scores.cast_const(), text.padded), values);
            for (r, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    let to = to.add(r * text.to_step + column + j * L::WIDTH);
                    simd.store(to, simd.mul(sum, simd.splat(parts[r])));
                }
            }
        }
    }
}

/// # Safety
/// As [`rows_of`]; `column` with its registers is within `padded`.
#[inline(always)]
unsafe fn scores_of<L: Lanes, const ROWS: usize, const COLUMNS: usize>(
    simd: L,
    text: &Text,
    query: *const f32,
    scores: *mut f32,
    column: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let keys = (text.keys.add(column).cast_const(), text.padded);
        let sums = block::<L, ROWS, COLUMNS>(simd, HEAD, (query, text.step), keys);
        for (r, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                simd.store(scores.add(r * text.padded + column + j * L::WIDTH), sum);
            }
        }
    }
}

/// Replaces a row of scores by e^(score - largest), and gives their sum. Beyond the last token it leaves zeros.
///
/// # Safety
/// `padded` numbers can be read and written at `row`.
#[inline(always)]
unsafe fn exponentials<L: Lanes>(simd: L, text: &Text, row: *mut f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut largest = simd.load(row);
        for i in (L::WIDTH..text.padded).step_by(L::WIDTH) {
            largest = simd.max(largest, simd.load(row.add(i)));
        }
        let largest = simd.splat(simd.largest(largest));
        let mut sum = simd.splat(0.0);
        for i in (0..text.padded).step_by(L::WIDTH) {
            let e = simd.exp(simd.sub(simd.load(row.add(i)), largest));
            let e = simd.first(e, text.tokens - i);
            simd.store(row.add(i), e);
            sum = simd.add(sum, e);
        }
        simd.sum(sum)
    }
}
