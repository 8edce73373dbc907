// SPDX-License-Identifier: GPL-2.0

//! Reverse mappings: from a page to those who map it.
//!
//! Locks: the page-table lock of the entries, for removal; the pmd lock, for adding a huge one.
//! [`MappingVmas`] holds the `i_mmap_rwsem` for read, inside the folio lock and outside the
//! `i_pages` lock and page-table locks.
//! Context: does not sleep, except [`MappingVmas::lock`].
//! Units: pages.
//!
//! C header: [`include/linux/rmap.h`](srctree/include/linux/rmap.h)

use crate::{
    bindings,
    mm::{
        page_cache::{
            Extent,
            Mapping, //
        },
        region::{
            PmdAddr,
            HPAGE_PMD_SIZE, //
        },
        vma::Vma, //
    },
    page::PAGE_SHIFT,
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Forgets that `nr` PTEs of `vma` map `nr` pages of `folio` from `page` on, and drops their
/// references, which must not be the last ones.
///
/// # Safety
///
/// The page-table lock must be held and the PTEs just cleared; somebody else must hold a reference
/// to the folio.
#[inline]
pub(crate) unsafe fn unmap_pages(
    folio: *mut bindings::folio,
    page: *mut bindings::page,
    nr: u32,
    vma: &Vma,
) {
    // SAFETY: The caller cleared the PTEs under the lock; the folio is kept by somebody else.
    unsafe {
        bindings::folio_remove_rmap_ptes(folio, page, nr as i32, vma.as_ptr());
        bindings::folio_put_refs(folio, nr as i32);
    }
}

/// Maps a new anonymous folio of the PMD order, which becomes visible to everybody.
///
/// # Safety
///
/// The pmd lock must be held, `pmd` be none and the entry for `at` in `vma`, whose VMA is marked
/// as written and has an anon_vma. `folio` must be new and up to date; its reference goes to the
/// entry.
#[inline]
pub(crate) unsafe fn map_new_pmd(
    folio: *mut bindings::folio,
    pmd: *mut bindings::pmd_t,
    vma: &Vma,
    at: PmdAddr,
) {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::map_anon_folio_pmd_nopf(folio, pmd, vma.as_ptr(), at.get()) }
}

/// Maps a new anonymous folio of a lesser order by PTEs.
///
/// # Safety
///
/// The page-table lock must be held, and the entries from `ptep` on, as many as the folio has pages,
/// be none and those for `addr` in `vma`, whose VMA is marked as written and has an anon_vma.
/// `folio` must be new and up to date, and less than the PMD order; its reference goes to the
/// entries.
#[inline]
pub(crate) unsafe fn map_new_ptes(
    folio: *mut bindings::folio,
    ptep: *mut bindings::pte_t,
    vma: &Vma,
    addr: usize,
) {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::map_anon_folio_pte_nopf(folio, ptep, vma.as_ptr(), addr, false) }
}

/// All VMAs, of all processes, that map some file. They stay while the value lives.
///
/// # Invariants
///
/// The `i_mmap_rwsem` of the mapping is held for read.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct MappingVmas<'m> {
    mapping: &'m Mapping,
    _nts: NotThreadSafe,
}

impl<'m> MappingVmas<'m> {
    /// Takes the lock. Sleeps.
    #[inline]
    pub fn lock(mapping: &'m Mapping) -> Self {
        // SAFETY: The mapping is valid.
        unsafe { bindings::i_mmap_lock_read(mapping.as_raw()) };
        // INVARIANT: Locked just now.
        Self {
            mapping,
            _nts: NotThreadSafe,
        }
    }

    /// Those that map a page from `first` on, in front of `end`.
    #[inline]
    pub fn of_pages(&self, first: usize, end: usize) -> impl Iterator<Item = MappingVma<'_>> {
        let mapping = self.mapping.as_raw();
        let last = end.wrapping_sub(1);
        let mut before = None;
        core::iter::from_fn(move || {
            // SAFETY: By the type invariant the tree does not change, nor does a VMA leave it.
            let vma = NonNull::new(unsafe {
                match before {
                    None => bindings::mapping_rmap_tree_iter_first(mapping, first, last),
                    Some(MappingVma { vma, .. }) => {
                        bindings::mapping_rmap_tree_iter_next(vma.as_ptr(), first, last)
                    }
                }
            })?;
            // INVARIANT: The VMA is in the tree.
            before = Some(MappingVma {
                vma,
                _lock: PhantomData,
            });
            before
        })
    }
}

impl Drop for MappingVmas<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::i_mmap_unlock_read(self.mapping.as_raw()) }
    }
}

/// A VMA as the file knows it. Its mmap lock is not held: its flags and its `anon_vma` may change,
/// but not what it maps, and its page tables stay.
///
/// # Invariants
///
/// The VMA is in the tree of the mapping, which is locked, during `'i`.
#[derive(Clone, Copy)]
pub struct MappingVma<'i> {
    vma: NonNull<bindings::vm_area_struct>,
    _lock: PhantomData<&'i ()>,
}

impl MappingVma<'_> {
    /// The pointer for C.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::vm_area_struct {
        self.vma.as_ptr()
    }

    /// The mm. It may have no users any more, but its page tables are still there.
    #[inline]
    pub(super) fn mm(&self) -> *mut bindings::mm_struct {
        // SAFETY: By the type invariant the VMA is valid. The field does not change.
        unsafe { (*self.as_raw()).vm_mm }
    }

    /// Where it maps all of an extent, if a PMD could.
    pub fn addr_of(&self, extent: Extent) -> Option<PmdAddr> {
        // SAFETY: By the type invariant the VMA is valid. What it maps changes only while it is out
        // of the tree.
        let (start, end, first) = unsafe {
            let vma = self.as_raw();
            let range = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
            (range.vm_start, range.vm_end, (*vma).vm_pgoff)
        };
        let offset = extent
            .start()
            .checked_sub(first)?
            .checked_mul(1 << PAGE_SHIFT)?;
        let at = PmdAddr::new(start.checked_add(offset)?)?;
        (at.get().checked_add(HPAGE_PMD_SIZE)? <= end).then_some(at)
    }

    /// Whether a userfaultfd waits for missing pages.
    #[inline]
    pub fn uffd_missing(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid. The flags are read without their lock; it
        // is for the caller to make sure that a change does no harm.
        unsafe { bindings::userfaultfd_missing(self.as_raw()) }
    }

    /// Whether an empty table of the VMA would not be missed: nothing says that it has, or will have,
    /// pages or marks of its own. Those are copies of private memory, what a userfaultfd protects,
    /// and guard regions.
    ///
    /// C: `file_backed_vma_is_retractable()`.
    pub fn has_plain_tables(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid. `anon_vma` is set once.
        unsafe {
            core::ptr::addr_of!((*self.as_raw()).anon_vma)
                .read_volatile()
                .is_null()
                && !bindings::userfaultfd_protected(self.as_raw())
                && !bindings::collapse_vma_maybe_guarded(self.as_raw())
        }
    }
}
