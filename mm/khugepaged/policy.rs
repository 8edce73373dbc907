// SPDX-License-Identifier: GPL-2.0

//! What the two doors allow: khugepaged asks the knobs, MADV_COLLAPSE does not.
//!
//! Locks: the mmap lock, where a VMA is asked; knobs are read without.
//! Context: any.
//! Units: limits in PTEs per region.
//!
//! C: `collapse_max_ptes_*()`, `collapse_possible_orders()`, `alloc_hugepage_khugepaged_gfpmask()`.

#![forbid(unsafe_code)]

use crate::{
    ffi,
    tunables::{
        self,
        MAX_PTES_LIMIT, //
    }, //
};
use kernel::{
    mm::{
        folio::HugeGfp,
        internal::thp,
        region::{
            Order,
            Orders,
            HPAGE_PMD_NR, //
        },
        virt::vm_flags_t,
        vma::{
            TvaType,
            Vma, //
        }, //
    }, //
};

/// Who wants the collapse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The thread in the background: spares memory and time, as the knobs say.
    Khugepaged,
    /// A process that knows what it wants: nothing limits it but MADV_NOHUGEPAGE and the like.
    MadvCollapse,
}

/// How many entries of a region may be other than pages of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Entries that map nothing, or the zero page.
    pub(crate) none: u32,
    /// Entries that are swapped out.
    pub(crate) swap: u32,
    /// Entries that map folios which other processes map, too.
    pub(crate) shared: u32,
}

impl Limits {
    /// No limits.
    pub(crate) const NONE: Self = Self {
        none: HPAGE_PMD_NR as u32,
        swap: HPAGE_PMD_NR as u32,
        shared: HPAGE_PMD_NR as u32,
    };

    /// The limits where it may be that no hole may be filled.
    pub(crate) fn without_holes_if(self, watched: bool) -> Self {
        if watched {
            Self { none: 0, ..self }
        } else {
            self
        }
    }
}

impl Policy {
    /// The policy as [`Vma::allowable_orders`] wants it.
    pub(crate) fn tva(self) -> TvaType {
        match self {
            Self::Khugepaged => TvaType::Khugepaged,
            Self::MadvCollapse => TvaType::ForcedCollapse,
        }
    }

    /// How hard the allocator may try.
    pub(crate) fn gfp(self) -> HugeGfp {
        match self {
            Self::Khugepaged if !thp::khugepaged_defrag() => HugeGfp::LIGHT,
            _ => HugeGfp::DEFRAG,
        }
    }

    /// Whether a VMA of any kind may have huge pages.
    pub(crate) fn allows_huge_pages(self, vma: &Vma) -> bool {
        let orders = Orders::only(Order::PMD);
        !vma.allowable_orders(vma.flags(), self.tva(), orders)
            .is_empty()
    }

    /// The orders that a VMA may be collapsed to, if its flags were `flags`. Those below the PMD's
    /// are for khugepaged, and for anonymous memory or if a knob says so.
    pub(crate) fn possible_orders_with(self, vma: &Vma, flags: vm_flags_t) -> Orders {
        let orders = if vma.is_anonymous() && self == Self::Khugepaged {
            Orders::ALL_ANON
        } else if self.splits_extents() {
            Orders::ALL_CACHE
        } else {
            Orders::only(Order::PMD)
        };
        vma.allowable_orders(flags, self.tva(), orders)
    }

    /// Whether parts of an extent of the page cache are collapsed where all of it is not.
    pub(crate) fn splits_extents(self) -> bool {
        self == Self::Khugepaged && tunables::mthp_page_cache()
    }

    /// The orders that a VMA may be collapsed to.
    pub(crate) fn possible_orders(self, vma: &Vma) -> Orders {
        self.possible_orders_with(vma, vma.flags())
    }

    /// The limits for a region of an order. Reads each knob once.
    pub(crate) fn limits(self, order: Order) -> Limits {
        let none = tunables::max_ptes_none();
        if self == Self::Khugepaged && !order.is_pmd() && none != 0 && none != MAX_PTES_LIMIT {
            ffi::warn_of_max_ptes_none(MAX_PTES_LIMIT);
        }
        self.limits_for(
            order,
            none,
            tunables::max_ptes_swap(),
            tunables::max_ptes_shared(),
        )
    }

    /// The limits that follow from the values of the knobs.
    ///
    /// Below the PMD order, what a collapse adds could make the next larger one possible, and so
    /// on up to a huge page that nobody asked for. So nothing may be added, unless the knob asks
    /// for as much as there is.
    pub(crate) fn limits_for(self, order: Order, none: u32, swap: u32, shared: u32) -> Limits {
        match self {
            Self::MadvCollapse => Limits::NONE,
            Self::Khugepaged if order.is_pmd() => Limits { none, swap, shared },
            Self::Khugepaged => {
                let none = if none == MAX_PTES_LIMIT {
                    (order.nr_pages() as u32).saturating_sub(1)
                } else {
                    0
                };
                Limits {
                    none,
                    swap: 0,
                    shared: 0,
                }
            }
        }
    }

    /// The limits in a VMA: where a userfaultfd is registered, a hole may not be filled.
    pub(crate) fn limits_in(self, order: Order, vma: &Vma) -> Limits {
        self.limits(order).without_holes_if(vma.uffd_armed())
    }

    /// Whether dirty pages of a file are written at once, to be collapsed then.
    pub(crate) fn writes_back(self) -> bool {
        self == Self::MadvCollapse
    }

    /// Whether a huge page of a file is mapped at once, and not by the next fault.
    pub(crate) fn maps_at_once(self) -> bool {
        self == Self::MadvCollapse
    }

    /// Whether memory that MADV_FREE has given up is left alone.
    pub(crate) fn protects_lazyfree(self) -> bool {
        self == Self::Khugepaged
    }

    /// Whether memory that nobody uses is left alone.
    pub(crate) fn wants_referenced(self) -> bool {
        self == Self::Khugepaged
    }
}
