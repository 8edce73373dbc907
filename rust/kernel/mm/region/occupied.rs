// SPDX-License-Identifier: GPL-2.0

//! A bit for each entry of one page table.

use super::{
    PteIndex,
    Region,
    HPAGE_PMD_NR, //
};

const OCCUPIED_WORDS: usize = HPAGE_PMD_NR.div_ceil(64);

/// A set of entries of one table.
///
/// # Examples
///
/// ```
/// use kernel::mm::region::{Occupied, Order, PmdAddr, PteIndex, Region, HPAGE_PMD_NR};
///
/// let mut map = Occupied::EMPTY;
/// for i in [0, 5, 500].into_iter().filter_map(PteIndex::new) {
///     map.set(i);
/// }
/// let whole = Region::whole_table(PmdAddr::align_down(0));
/// assert_eq!(map.weight(&whole), 3);
/// assert!(PteIndex::new(5).is_some_and(|i| map.contains(i)));
/// map.clear(&whole);
/// assert_eq!(map.weight(&whole), 0);
/// let four = PteIndex::new(8).zip(Order::new(2)).and_then(|(i, o)| Region::new(PmdAddr::align_down(0), i, o));
/// if let Some(four) = four {
///     map.set_all(&four);
///     assert_eq!((map.weight(&four), map.weight(&whole)), (4, 4));
/// }
/// map.set_all(&whole);
/// assert_eq!(map.weight(&whole), HPAGE_PMD_NR);
/// ```
pub struct Occupied([u64; OCCUPIED_WORDS]);

impl Occupied {
    /// No entry.
    pub const EMPTY: Self = Self([0; OCCUPIED_WORDS]);

    /// Marks an entry.
    #[inline]
    pub fn set(&mut self, index: PteIndex) {
        if let Some(word) = self.0.get_mut(index.get() / 64) {
            *word |= 1 << (index.get() % 64);
        }
    }

    /// Marks all entries of a region.
    #[inline]
    pub fn set_all(&mut self, region: &Region) {
        self.each_word(region, |word, mask| *word |= mask);
    }

    /// Unmarks all entries of a region.
    #[inline]
    pub fn clear(&mut self, region: &Region) {
        self.each_word(region, |word, mask| *word &= !mask);
    }

    /// The words that a region has a part in, each with the mask of that part.
    #[inline]
    fn each_word(&mut self, region: &Region, f: impl Fn(&mut u64, u64)) {
        let first = region.first().get();
        let (words, mask) = match region.nr_pages() {
            nr if nr >= 64 => (nr / 64, !0),
            // By its alignment the region lies in one word.
            nr => (1, ((1u64 << nr) - 1) << (first % 64)),
        };
        self.0
            .iter_mut()
            .skip(first / 64)
            .take(words)
            .for_each(|word| f(word, mask));
    }

    /// Whether an entry is marked.
    #[inline]
    pub fn contains(&self, index: PteIndex) -> bool {
        let word = self.0.get(index.get() / 64).copied().unwrap_or(0);
        word & (1 << (index.get() % 64)) != 0
    }

    /// The number of marked entries of a region.
    pub fn weight(&self, region: &Region) -> usize {
        if region.nr_pages() >= 64 {
            let words = region.nr_pages() / 64;
            self.0
                .iter()
                .skip(region.first().get() / 64)
                .take(words)
                .fold(0, |sum: usize, word| {
                    sum.wrapping_add(word.count_ones() as usize)
                })
        } else {
            let word = self.0.get(region.first().get() / 64).copied().unwrap_or(0);
            let mask = (1u64 << region.nr_pages()) - 1;
            ((word >> (region.first().get() % 64)) & mask).count_ones() as usize
        }
    }
}
