// SPDX-License-Identifier: GPL-2.0

//! Orders of folios that fit into one page table, and sets of these.

use super::{
    PteIndex,
    HPAGE_PMD_ORDER, //
};
use crate::bindings;

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
        if index.get() == 0 {
            Self::PMD
        } else {
            // INVARIANT: A non-zero index below `1 << HPAGE_PMD_ORDER` has a lower bit set.
            Self(index.get().trailing_zeros() as u8)
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
