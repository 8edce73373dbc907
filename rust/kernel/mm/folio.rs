// SPDX-License-Identifier: GPL-2.0

//! Folios: as somebody else's page table maps them, and new ones of our own.
//!
//! A [`Folio`] is only ever seen through a reference whose lifetime says why the folio is not
//! freed: the page-table lock under which its PTE was read, or the reference of a [`NewFolio`] and
//! what becomes of it.
//! Everything a method tells may change at once unless the folio is locked.
//!
//! Locks: none; see [`IsolatedFolios`](super::internal::lru::IsolatedFolios) for the folio lock.
//! Context: any, except [`NewFolio::alloc`], which may sleep.
//! Units: pages.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::{
    bindings,
    mm::{
        memcg::ChargedFolio,
        numa::NodeMask,
        region::Order, //
    },
    types::Opaque,
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// A folio that is not freed while the reference lives.
///
/// # Invariants
///
/// Somebody holds a reference to the folio: its page-table mapping, kept by the lock of the table,
/// or the owner of the value that the reference was derived from.
#[repr(transparent)]
pub struct Folio(Opaque<bindings::folio>);

macro_rules! tests {
    ($($(#[$doc:meta])* $name:ident => $c:ident;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self) -> bool {
            // SAFETY: By the type invariant the folio is not freed.
            unsafe { bindings::$c(self.as_raw()) }
        }
    )*};
}

impl Folio {
    /// Wraps a pointer.
    ///
    /// # Safety
    ///
    /// The folio must not be freed during `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(folio: *mut bindings::folio) -> &'a Self {
        // SAFETY: `repr(transparent)`; the caller keeps the folio for `'a`.
        unsafe { &*folio.cast() }
    }

    /// The pointer for C.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::folio {
        self.0.get()
    }

    /// The page frame number of the first page.
    #[inline]
    pub fn pfn(&self) -> usize {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_pfn(self.as_raw()) }
    }

    /// The node that the memory is on.
    #[inline]
    pub fn nid(&self) -> usize {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_nid(self.as_raw()) as usize }
    }

    /// The order.
    #[inline]
    pub fn order(&self) -> u32 {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_order(self.as_raw()) }
    }

    /// The number of pages.
    #[inline]
    pub fn nr_pages(&self) -> usize {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_nr_pages(self.as_raw()) as usize }
    }

    /// The place of its first page in the file or, for anonymous memory, in the mapping.
    #[inline]
    pub fn index(&self) -> usize {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::collapse_folio_index(self.as_raw()) }
    }

    /// A page of it.
    #[inline]
    pub(crate) fn page(&self, n: usize) -> Option<NonNull<bindings::page>> {
        if n >= self.nr_pages() {
            return None;
        }
        // SAFETY: By the type invariant the folio is not freed, and it has the page.
        NonNull::new(unsafe { bindings::folio_page(self.as_raw(), n) })
    }

    tests! {
        /// Whether its content is valid.
        is_uptodate => folio_test_uptodate;
        /// Whether it was written to since it was last written back.
        is_dirty => folio_test_dirty;
        /// Whether it is being written back.
        is_under_writeback => folio_test_writeback;
        /// Whether it has more than one page.
        is_large => folio_test_large;
        /// Whether it is anonymous memory (KSM's included).
        is_anon => folio_test_anon;
        /// Whether MADV_FREE has marked it: it may be dropped unless written to again.
        is_lazyfree => folio_test_lazyfree;
        /// Whether somebody has it locked.
        is_locked => folio_test_locked;
        /// Whether it is on an LRU list, and not isolated or on its way there.
        is_on_lru => folio_test_lru;
        /// Whether it is estimated to be mapped by more than one process.
        is_maybe_shared => folio_maybe_mapped_shared;
        /// Whether page idle tracking has seen it referenced.
        is_young => folio_test_young;
        /// Whether the LRU has seen it referenced.
        is_referenced => folio_test_referenced;
    }

    /// Whether somebody beside page tables and swap cache holds a reference, such as a pin.
    ///
    /// Only an estimate unless the folio is locked and no page table can map or unmap it.
    #[inline]
    pub fn has_extra_references(&self) -> bool {
        let folio = self.as_raw();
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_expected_ref_count(folio) != bindings::folio_ref_count(folio) }
    }
}

/// How hard to try for the memory of a huge page.
#[derive(Clone, Copy)]
pub struct HugeGfp(bindings::gfp_t);

impl HugeGfp {
    /// Reclaims and compacts at once: `GFP_TRANSHUGE`.
    pub const DEFRAG: Self = Self(bindings::COLLAPSE_GFP_TRANSHUGE);
    /// Takes what is there: `GFP_TRANSHUGE_LIGHT`.
    pub const LIGHT: Self = Self(bindings::COLLAPSE_GFP_TRANSHUGE_LIGHT);

    /// The same for a folio of some order. What is not large by the allocator's measure would have
    /// it kill a process rather than fail; no folio of ours is worth that.
    #[inline]
    pub fn for_order(self, order: Order) -> Self {
        if u32::from(order.get()) > bindings::PAGE_ALLOC_COSTLY_ORDER {
            self
        } else {
            Self(self.0 | bindings::COLLAPSE_GFP_RETRY_MAYFAIL)
        }
    }

    #[inline]
    pub(super) fn as_raw(self) -> bindings::gfp_t {
        self.0
    }
}

/// A new folio that nobody else has seen, as the allocator gave it: of unknown content, and not
/// charged to anybody. Dropping it frees the memory.
///
/// # Invariants
///
/// We own the only reference.
#[must_use = "the folio is freed when it is unused"]
pub struct NewFolio {
    folio: NonNull<bindings::folio>,
    order: Order,
}

// SAFETY: Nobody else knows of the folio, and any task may use and free it.
unsafe impl Send for NewFolio {}

impl NewFolio {
    /// Allocates a folio on node `nid`, or else on one of `nodes`.
    ///
    /// May sleep, reclaim and compact, as `gfp` allows.
    ///
    /// C: `__folio_alloc()`.
    #[inline]
    pub fn alloc(gfp: HugeGfp, order: Order, nid: usize, nodes: &mut NodeMask) -> Option<Self> {
        // SAFETY: `nodes` is a valid mask; it is only read.
        let folio = unsafe {
            bindings::__folio_alloc(
                gfp.as_raw(),
                u32::from(order.get()),
                nid as i32,
                nodes.as_raw(),
            )
        };
        // INVARIANT: The allocator gave us the only reference.
        NonNull::new(folio).map(|folio| Self { folio, order })
    }

    /// The order it was allocated with.
    #[inline]
    pub fn order(&self) -> Order {
        self.order
    }

    /// The folio.
    #[inline]
    pub fn folio(&self) -> &Folio {
        // SAFETY: By the type invariant we own a reference for as long as `self` lives.
        unsafe { Folio::from_raw(self.folio.as_ptr()) }
    }
}

impl Drop for NewFolio {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::folio_put(self.folio.as_ptr()) }
    }
}

/// A new folio that is charged and has its content, ready to be mapped. Dropping it frees the
/// memory and undoes the charge.
///
/// # Invariants
///
/// Every page was written and the folio is marked as up to date.
#[must_use = "the folio is freed when it is unused"]
pub struct FilledFolio(ChargedFolio);

impl FilledFolio {
    /// Declares the content valid, and orders all stores to it before those that map the folio.
    ///
    /// # Safety
    ///
    /// Every page must have been written.
    #[inline]
    pub(super) unsafe fn new(folio: ChargedFolio) -> Self {
        // SAFETY: The folio is ours.
        unsafe { bindings::__folio_mark_uptodate(folio.folio().as_raw()) };
        // INVARIANT: By the requirement of this function.
        Self(folio)
    }

    /// The order it was allocated with.
    #[inline]
    pub fn order(&self) -> Order {
        self.0.order()
    }

    /// Gives the reference to the caller.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::folio {
        ManuallyDrop::new(self).0.folio().as_raw()
    }
}
