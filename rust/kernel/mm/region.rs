// SPDX-License-Identifier: GPL-2.0

//! Addresses and regions of one page table.
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

mod occupied;
mod order;

pub use self::{
    occupied::Occupied,
    order::{
        Order,
        Orders, //
    }, //
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
