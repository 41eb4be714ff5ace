//! Everything that looks like chance is a hash of the rows' names, so that two programs draw the same.

use sha2::{Digest as _, Sha256};

use super::table::{RowId, Table, hex};

/// The first 16 hexadecimal digits of SHA-256 of `text`, as a number.
fn first_digits(text: &str) -> u64 {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    u64::from_be_bytes(hash[..8].try_into().expect("eight of 32 bytes"))
}

/// `rows` sorted by SHA-256 of `tag:id`.
#[must_use]
pub fn order(tag: &str, ids: &[RowId], rows: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let key = |row: usize| -> [u8; 32] { Sha256::digest(format!("{tag}:{}", hex(&ids[row])).as_bytes()).into() };
    let mut keyed: Vec<([u8; 32], usize)> = rows.into_iter().map(|row| (key(row), row)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// Training and test rows, each in id order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What is learned from.
    pub train: Vec<usize>,
    /// What is judged on.
    pub test: Vec<usize>,
}

impl Split {
    /// Split number `s` of a table. With costs: the first 30% of `order(split-s)` are the test part. Two models without
    /// costs: the last 1,500 of a large set, or the last half of a small one, are the training part.
    #[must_use]
    pub fn numbered(table: &Table, s: u32) -> Self {
        let n = table.len();
        let drawn = order(&format!("split-{s}"), &table.ids, 0..n);
        let cut = match (table.is_pair(), n) {
            (false, _) => n * 3 / 10,
            (true, 5_001..) => n - 1_500,
            (true, _) => n - n / 2,
        };
        let (test, train) = drawn.split_at(cut);
        Self::in_id_order(train.to_vec(), test.to_vec())
    }

    /// Rows listed in any order, put in id order.
    #[must_use]
    pub fn in_id_order(mut train: Vec<usize>, mut test: Vec<usize>) -> Self {
        train.sort_unstable();
        test.sort_unstable();
        Self { train, test }
    }

    /// Each group in turn as the test part. Two-model sets have too many small groups: eight folds of groups, by hash.
    /// Rows without a group are always trained on. Empty where fewer than two groups are known.
    #[must_use]
    pub fn by_group(table: &Table) -> Vec<Self> {
        if table.groups.len() < 2 {
            return Vec::new();
        }
        let fold = |group: usize| if table.is_pair() { fold_of(&table.groups[group]) } else { group };
        let folds = if table.is_pair() { FOLDS } else { table.groups.len() };
        (0..folds)
            .map(|this| {
                let held_out = |row: &usize| table.group[*row].is_some_and(|g| fold(usize::from(g)) == this);
                let (test, train) = (0..table.len()).partition(held_out);
                Self { train, test }
            })
            .filter(|split| !split.test.is_empty() && !split.train.is_empty())
            .collect()
    }
}

/// Folds of groups in two-model sets.
const FOLDS: usize = 8;

/// The fold of a group: the first 8 hexadecimal digits of SHA-256 of `group:<group>`, modulo 8.
fn fold_of(group: &str) -> usize {
    (first_digits(&format!("group:{group}")) >> 32) as usize % FOLDS
}

/// The random score of a row in split `s`: the first 13 hexadecimal digits of SHA-256 of `random-s:id`, as a fraction.
#[must_use]
pub fn random_score(s: u32, id: &RowId) -> f64 {
    (first_digits(&format!("random-{s}:{}", hex(id))) >> 12) as f64 / 16_f64.powi(13)
}

/// The blocked order: groups by SHA-256 of `blocked:<group>`, rows by id inside.
#[must_use]
pub fn blocked(table: &Table) -> Vec<usize> {
    let key =
        |row: usize| table.group_name(row).map(|group| <[u8; 32]>::from(Sha256::digest(format!("blocked:{group}"))));
    let mut rows: Vec<usize> = (0..table.len()).collect();
    rows.sort_by_cached_key(|row| (key(*row), *row));
    rows
}
