// SPDX-License-Identifier: GPL-2.0

//! Event counters of `/proc/vmstat` and of the per-size directories of
//! `/sys/kernel/mm/transparent_hugepage`.
//!
//! Locks: none. Context: any.
//!
//! C headers: [`include/linux/vmstat.h`](srctree/include/linux/vmstat.h),
//! [`include/linux/huge_mm.h`](srctree/include/linux/huge_mm.h)

use crate::{
    bindings,
    mm::region::Order, //
};

/// Something that happened while collapsing to some order.
///
/// Each is counted per order; at the PMD order also in `/proc/vmstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollapseEvent {
    /// A folio was allocated.
    Alloc,
    /// No folio could be had.
    AllocFailed,
    /// Too many entries map nothing.
    ExceedNone,
    /// Too many entries are swapped out.
    ExceedSwap,
    /// Too many entries map shared folios.
    ExceedShared,
}

impl CollapseEvent {
    /// The counters in `/proc/vmstat` and per order.
    #[inline]
    fn items(self) -> (bindings::vm_event_item, bindings::mthp_stat_item) {
        match self {
            Self::Alloc => (
                bindings::vm_event_item_THP_COLLAPSE_ALLOC,
                bindings::mthp_stat_item_MTHP_STAT_COLLAPSE_ALLOC,
            ),
            Self::AllocFailed => (
                bindings::vm_event_item_THP_COLLAPSE_ALLOC_FAILED,
                bindings::mthp_stat_item_MTHP_STAT_COLLAPSE_ALLOC_FAILED,
            ),
            Self::ExceedNone => (
                bindings::vm_event_item_THP_SCAN_EXCEED_NONE_PTE,
                bindings::mthp_stat_item_MTHP_STAT_COLLAPSE_EXCEED_NONE,
            ),
            Self::ExceedSwap => (
                bindings::vm_event_item_THP_SCAN_EXCEED_SWAP_PTE,
                bindings::mthp_stat_item_MTHP_STAT_COLLAPSE_EXCEED_SWAP,
            ),
            Self::ExceedShared => (
                bindings::vm_event_item_THP_SCAN_EXCEED_SHARED_PTE,
                bindings::mthp_stat_item_MTHP_STAT_COLLAPSE_EXCEED_SHARED,
            ),
        }
    }

    /// Counts it for the page cache, whose scans are not counted per order.
    #[inline]
    pub fn count_in_cache(self) {
        // SAFETY: A per-CPU counter.
        unsafe { bindings::count_vm_event(self.items().0) }
    }

    /// Counts it.
    #[inline]
    pub fn count(self, order: Order) {
        let (vm, mthp) = self.items();
        // SAFETY: Per-CPU counters; the order has counters of its own.
        unsafe {
            if order.is_pmd() {
                bindings::count_vm_event(vm);
            }
            bindings::count_mthp_stat(i32::from(order.get()), mthp);
        }
    }
}
