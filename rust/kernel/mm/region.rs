// SPDX-License-Identifier: GPL-2.0

//! Addresses, orders and regions of one page table.
//!
//! A *region* is a naturally aligned run of `1 << order` PTEs inside one PTE table; the region of
//! the PMD order is the whole table. Everything here is arithmetic that cannot overflow, whatever
//! the input: an address that does not fit yields [`None`].
//!
//! Locks: none.
//! Context: any.
//! Units: addresses in bytes, everything else in pages or PTEs, which its type says.
//!
//! C header: [`include/linux/huge_mm.h`](srctree/include/linux/huge_mm.h)

use crate::{
    bindings,
    page::PAGE_SIZE, //
};

/// The order of a folio that one PMD maps.
pub const HPAGE_PMD_ORDER: u8 = bindings::COLLAPSE_PMD_ORDER as u8;
/// The number of pages that one PMD maps.
pub const HPAGE_PMD_NR: usize = 1 << HPAGE_PMD_ORDER;
/// The number of bytes that one PMD maps.
pub const HPAGE_PMD_SIZE: usize = bindings::COLLAPSE_PMD_SIZE as usize;

/// An address where the range of a PMD begins.
///
/// # Invariants
///
/// The address is a multiple of [`HPAGE_PMD_SIZE`]; so adding less than that never wraps.
///
/// # Examples
///
/// ```
/// use kernel::mm::region::{PmdAddr, HPAGE_PMD_SIZE};
///
/// assert!(PmdAddr::new(HPAGE_PMD_SIZE + 1).is_none());
/// assert_eq!(PmdAddr::align_down(HPAGE_PMD_SIZE + 1).get(), HPAGE_PMD_SIZE);
/// assert_eq!(PmdAddr::align_up(1).map(PmdAddr::get), Some(HPAGE_PMD_SIZE));
/// assert!(PmdAddr::align_up(usize::MAX).is_none());
/// assert!(PmdAddr::align_down(usize::MAX).next().is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PmdAddr(usize);

impl PmdAddr {
    /// Takes an address that has to be aligned already.
    #[inline]
    pub const fn new(addr: usize) -> Option<Self> {
        if addr & (HPAGE_PMD_SIZE - 1) == 0 {
            // INVARIANT: The low bits were just tested.
            Some(Self(addr))
        } else {
            None
        }
    }

    /// The PMD range that `addr` lies in.
    #[inline]
    pub const fn align_down(addr: usize) -> Self {
        // INVARIANT: The mask clears the low bits.
        Self(addr & !(HPAGE_PMD_SIZE - 1))
    }

    /// The first PMD range that begins at `addr` or above.
    #[inline]
    pub const fn align_up(addr: usize) -> Option<Self> {
        match addr.checked_add(HPAGE_PMD_SIZE - 1) {
            Some(end) => Some(Self::align_down(end)),
            None => None,
        }
    }

    /// The address in bytes.
    #[inline]
    pub const fn get(self) -> usize {
        self.0
    }

    /// The next PMD range.
    #[inline]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(HPAGE_PMD_SIZE) {
            // INVARIANT: The sum of two multiples.
            Some(addr) => Some(Self(addr)),
            None => None,
        }
    }
}

/// The index of an entry in a PTE table.
///
/// # Invariants
///
/// Less than [`HPAGE_PMD_NR`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PteIndex(u16);

impl PteIndex {
    /// The first entry.
    pub const ZERO: Self = Self(0);

    /// Takes an index that has to be inside the table.
    #[inline]
    pub const fn new(index: usize) -> Option<Self> {
        if index < HPAGE_PMD_NR {
            // INVARIANT: Just tested.
            Some(Self(index as u16))
        } else {
            None
        }
    }

    /// The index as a number.
    #[inline]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// The order of a folio: it has `1 << order` pages.
///
/// # Invariants
///
/// At most [`HPAGE_PMD_ORDER`].
///
/// # Examples
///
/// ```
/// use kernel::mm::region::{Order, HPAGE_PMD_NR};
///
/// assert_eq!(Order::PMD.nr_pages(), HPAGE_PMD_NR);
/// assert_eq!(Order::new(2).map(Order::nr_pages), Some(4));
/// assert!(Order::new(63).is_none());
/// assert_eq!(Order::PMD.smaller(), Order::new(Order::PMD.get() - 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u8);

impl Order {
    /// The order that one PMD maps.
    pub const PMD: Self = Self(HPAGE_PMD_ORDER);
    /// The smallest order that memory is collapsed to; anonymous folios have no smaller one.
    pub const MIN_ANON: Self = Self(2);

    /// Takes an order that has to fit into one PTE table.
    #[inline]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= HPAGE_PMD_ORDER {
            // INVARIANT: Just tested.
            Some(Self(order))
        } else {
            None
        }
    }

    /// The order as a number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number of pages of a folio of this order.
    #[inline]
    pub const fn nr_pages(self) -> usize {
        1 << self.0
    }

    /// Whether a folio of this order fills a whole table.
    #[inline]
    pub const fn is_pmd(self) -> bool {
        self.0 == HPAGE_PMD_ORDER
    }

    /// The order below this one.
    #[inline]
    pub const fn smaller(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            // INVARIANT: Less than an order that fits.
            Some(order) => Some(Self(order)),
            None => None,
        }
    }

    /// The largest order of a region that may begin at `index`.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::mm::region::{Order, PteIndex};
    ///
    /// assert_eq!(Order::largest_at(PteIndex::ZERO), Order::PMD);
    /// assert_eq!(PteIndex::new(12).map(|i| Order::largest_at(i).get()), Some(2));
    /// ```
    #[inline]
    pub const fn largest_at(index: PteIndex) -> Self {
        if index.0 == 0 {
            Self::PMD
        } else {
            // INVARIANT: A non-zero index below `1 << HPAGE_PMD_ORDER` has a lower bit set.
            Self(index.0.trailing_zeros() as u8)
        }
    }
}

/// A set of orders, as C keeps it: bit `n` stands for order `n`.
///
/// # Examples
///
/// ```
/// use kernel::mm::region::{Order, Orders};
///
/// let orders = Orders::only(Order::PMD);
/// assert!(orders.contains(Order::PMD) && !orders.contains(Order::MIN_ANON));
/// assert!(!orders.any_below(Order::PMD));
/// assert!(Orders::EMPTY.is_empty());
/// let both = orders.with(Order::MIN_ANON);
/// assert!(both.contains_all(orders) && !orders.contains_all(both));
/// assert_eq!(both.without(Order::MIN_ANON), orders);
/// assert_eq!(both.and(orders), orders);
/// assert_eq!(Orders::between(2, 4).bits(), 0b11100);
/// assert!(Orders::between(5, 4).is_empty());
/// assert!(Orders::between(0, u32::MAX).contains_all(both));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders(usize);

impl Orders {
    /// No order.
    pub const EMPTY: Self = Self(0);
    /// Every order that anonymous folios come in.
    pub const ALL_ANON: Self = Self(bindings::COLLAPSE_ORDERS_ALL_ANON as usize);
    /// Every order that the page cache is collapsed to. It has folios of two pages, too.
    pub const ALL_CACHE: Self =
        Self::between(Order::MIN_ANON.get() as u32, Order::PMD.get() as u32);

    /// The orders from `min` to `max`, both included.
    #[inline]
    pub const fn between(min: u32, max: u32) -> Self {
        let from_min = match usize::MAX.checked_shl(min) {
            Some(bits) => bits,
            None => 0,
        };
        let above_max = match usize::MAX.checked_shl(max.saturating_add(1)) {
            Some(bits) => bits,
            None => 0,
        };
        Self(from_min & !above_max)
    }

    /// The orders that are in both sets.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set with `order` taken out.
    #[inline]
    pub const fn without(self, order: Order) -> Self {
        Self(self.0 & !(1 << order.0))
    }

    /// The set of one order.
    #[inline]
    pub const fn only(order: Order) -> Self {
        Self(1 << order.0)
    }

    /// The set that C's bit field stands for.
    #[inline]
    pub const fn from_bits(bits: usize) -> Self {
        Self(bits)
    }

    /// C's bit field.
    #[inline]
    pub const fn bits(self) -> usize {
        self.0
    }

    /// Whether there is no order in the set.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `order` is in the set.
    #[inline]
    pub const fn contains(self, order: Order) -> bool {
        self.0 & (1 << order.0) != 0
    }

    /// The set with `order` added.
    #[inline]
    pub const fn with(self, order: Order) -> Self {
        Self(self.0 | 1 << order.0)
    }

    /// Whether all orders of `other` are in the set, too.
    #[inline]
    pub const fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether an order smaller than `order` is in the set.
    #[inline]
    pub const fn any_below(self, order: Order) -> bool {
        self.0 & ((1 << order.0) - 1) != 0
    }
}

/// A naturally aligned run of `1 << order` entries of one PTE table.
///
/// # Invariants
///
/// `first` is a multiple of `1 << order`, so the run ends inside the table.
///
/// # Examples
///
/// ```
/// use kernel::mm::region::{Order, PmdAddr, PteIndex, Region, HPAGE_PMD_SIZE};
///
/// let at = PmdAddr::align_down(HPAGE_PMD_SIZE);
/// let whole = Region::whole_table(at);
/// assert!(whole.is_whole_table());
/// assert_eq!(whole.end() - whole.start(), HPAGE_PMD_SIZE);
///
/// let four = PteIndex::new(4).zip(Order::new(2)).and_then(|(i, o)| Region::new(at, i, o));
/// assert_eq!(four.map(|r| r.indices().count()), Some(4));
/// let odd = PteIndex::new(5).zip(Order::new(2)).and_then(|(i, o)| Region::new(at, i, o));
/// assert!(odd.is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pmd: PmdAddr,
    first: PteIndex,
    order: Order,
}

impl Region {
    /// The region of `order` that begins at entry `first` of the table of `pmd`.
    #[inline]
    pub const fn new(pmd: PmdAddr, first: PteIndex, order: Order) -> Option<Self> {
        if first.get() & (order.nr_pages() - 1) == 0 {
            // INVARIANT: Just tested.
            Some(Self { pmd, first, order })
        } else {
            None
        }
    }

    /// All entries of the table of `pmd`.
    #[inline]
    pub const fn whole_table(pmd: PmdAddr) -> Self {
        // INVARIANT: Zero is a multiple of everything.
        Self {
            pmd,
            first: PteIndex::ZERO,
            order: Order::PMD,
        }
    }

    /// The PMD whose table this is a part of.
    #[inline]
    pub const fn pmd(&self) -> PmdAddr {
        self.pmd
    }

    /// The first entry.
    #[inline]
    pub const fn first(&self) -> PteIndex {
        self.first
    }

    /// The order of the folio that fits the region.
    #[inline]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The number of entries.
    #[inline]
    pub const fn nr_pages(&self) -> usize {
        self.order.nr_pages()
    }

    /// Whether the region is the whole table.
    #[inline]
    pub const fn is_whole_table(&self) -> bool {
        self.order.is_pmd()
    }

    /// The address that the first entry maps, in bytes.
    #[inline]
    pub const fn start(&self) -> usize {
        self.addr_of(self.first)
    }

    /// The address behind the last entry, in bytes. Wraps to zero at the top of the address space.
    #[inline]
    pub const fn end(&self) -> usize {
        self.start().wrapping_add(self.nr_pages() * PAGE_SIZE)
    }

    /// All its addresses.
    #[inline]
    pub const fn addrs(&self) -> core::ops::Range<usize> {
        self.start()..self.end()
    }

    /// The address that an entry of the same table maps, in bytes.
    #[inline]
    pub const fn addr_of(&self, index: PteIndex) -> usize {
        // By the invariant of `PmdAddr` this does not wrap; `wrapping_` spares the check.
        self.pmd.get().wrapping_add(index.get() * PAGE_SIZE)
    }

    /// The entries, in order.
    #[inline]
    pub fn indices(&self) -> impl Iterator<Item = PteIndex> {
        let first = self.first.0;
        // By the invariant the sum is at most `HPAGE_PMD_NR`.
        (first..first.wrapping_add(self.nr_pages() as u16)).map(PteIndex)
    }
}

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
