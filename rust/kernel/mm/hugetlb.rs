// SPDX-License-Identifier: GPL-2.0

//! HugeTLB memory of which small leaves may map parts of a huge page (HGM).
//!
//! Words:
//!
//! - *slot*: the entry for one huge page, here a PMD ([`Slot`]);
//! - *table*: the PTE table that a slot may have in the place of a huge leaf;
//! - *leaf*: an entry of a table. All leaves of a table belong to the folio that the page cache has for
//!   the slot, and the one at index `i` maps page `i` of it.
//!
//! Who else may touch a slot, and the leaves below it:
//!
//! - faults and `UFFDIO_CONTINUE`, under the fault mutex of the huge page ([`FaultMutex`]) and the
//!   HugeTLB VMA lock for read ([`VmaReadLock`]): they fill empty leaves and empty slots;
//! - walks of page tables and slow GUP, under the VMA lock for read: they read;
//! - mprotect, mremap, zapping, under the VMA lock and the `i_mmap_rwsem` for write ([`TablesLock`]);
//! - reverse-map walks (migration, memory failures), under the `i_mmap_rwsem` for write;
//! - GUP-fast, with interrupts off and no lock at all; and the CPU.
//!
//! A table comes, goes, or moves to another slot only under [`TablesLock`]; it comes where there was
//! nothing, under the fault mutex. So whoever holds the VMA lock or the `i_mmap_rwsem`, in any mode, and
//! finds a table, or none, can rely on that. Leaves change only under the lock of their table
//! ([`Leaves`]).
//!
//! A present leaf stands for one reference to the folio and for one in its map count, whatever its
//! size; the functions of [`Leaves`] keep the three, and the count of HugeTLB memory of the mm, together.
//!
//! Locks: mmap lock or VMA mark, fault mutex, HugeTLB VMA lock, `i_mmap_rwsem`, pmd lock, page-table
//! lock. A folio lock is waited for only under the fault mutex and the VMA lock for read; inside the
//! others it is tried.
//! Context: sleeps, except under the page-table locks.
//! Units: addresses in bytes, leaves by their index.
//!
//! C header: [`include/linux/hugetlb_hgm.h`](srctree/include/linux/hugetlb_hgm.h)

use crate::{
    bindings,
    mm::{
        folio::Folio,
        page_cache::{
            FolioRef,
            Slot as Cached, //
        },
        region::{
            PmdAddr,
            HPAGE_PMD_ORDER,
            HPAGE_PMD_SIZE, //
        },
        virt::vm_flags_t,
        vma::Vma, //
    }, //
};
use core::ops::Deref;

mod fault;
mod install;
mod leaves;
mod locks;
mod owned;
mod rewrite;
mod slot;
mod walk;
mod zap;

pub use self::{
    fault::Fault,
    install::{
        Collapsed,
        Unfit, //
    },
    leaves::{
        Leaf,
        Leaves, //
    },
    locks::{
        FaultMutex,
        KeepsTables,
        TablesLock,
        VmaReadLock, //
    },
    owned::{
        OwnedSlot,
        SpareTable, //
    },
    slot::{
        Slot,
        SlotFolio,
        SlotState, //
    },
    walk::Walk,
    zap::Gather, //
};

/// A VMA of HugeTLB memory that may have tables.
///
/// # Invariants
///
/// The VMA has `VM_HUGETLB_HGM`: it is a shared mapping of a HugeTLB file whose huge pages have the
/// size of a PMD.
#[repr(transparent)]
pub struct HgmVma(Vma);

impl HgmVma {
    /// The VMA, if it is one.
    #[inline]
    pub fn of(vma: &Vma) -> Option<&Self> {
        if vma.flags() & bindings::HGM_VM_FLAG as vm_flags_t == 0 {
            return None;
        }
        // SAFETY: `repr(transparent)`.
        // INVARIANT: `hgm_check_register()` lets no other VMA have the flag.
        Some(unsafe { &*core::ptr::from_ref(vma).cast() })
    }

    /// The file's page cache, for C.
    #[inline]
    fn raw_mapping(&self) -> *mut bindings::address_space {
        // SAFETY: By the type invariant the VMA maps a file, which it keeps.
        unsafe { (*(*self.as_ptr()).vm_file).f_mapping }
    }

    /// Whether it belongs to the current task.
    #[inline]
    pub fn is_of_current(&self) -> bool {
        // SAFETY: Looks at the current task.
        core::ptr::eq(unsafe { bindings::current_mm() }, self.mm())
    }

    /// The folio that the page cache has for the slot, locked. Sleeps, so that it must not be called
    /// inside of [`TablesLock`].
    #[inline]
    pub fn lock_folio(&self, at: PmdAddr) -> Option<SlotFolio<'_>> {
        let folio = self.mapping()?.lock_folio(self.page_index_at(at)?)?;
        // SAFETY: It was found there, is locked, and was still there then.
        Some(unsafe { SlotFolio::new(self, at, folio) })
    }

    /// The same without waiting; [`None`] if there is no folio.
    #[inline]
    pub fn try_lock_folio(&self, at: PmdAddr) -> Option<Result<SlotFolio<'_>, FolioRef>> {
        let mapping = self.mapping()?;
        match mapping.slot(self.page_index_at(at)?) {
            Cached::Folio(folio) => match folio.try_lock() {
                // It may have been removed before it was locked.
                Ok(folio) if !folio.is_in(mapping) => None,
                // SAFETY: It was found there, is locked, and is still there.
                tried => Some(tried.map(|folio| unsafe { SlotFolio::new(self, at, folio) })),
            },
            Cached::Empty | Cached::Trace => None,
        }
    }

    /// Whether the page cache has a folio for the slot.
    #[inline]
    pub fn has_folio(&self, at: PmdAddr) -> bool {
        let found = self.mapping().zip(self.page_index_at(at));
        found.is_some_and(|(mapping, index)| matches!(mapping.slot(index), Cached::Folio(_)))
    }

    /// Which huge page of the file `at` maps.
    ///
    /// C: `vma_hugecache_offset()`.
    #[inline]
    fn huge_index(&self, at: PmdAddr) -> usize {
        // SAFETY: By the type invariant the VMA is valid.
        let first = unsafe { (*self.as_ptr()).vm_pgoff } >> HPAGE_PMD_ORDER;
        first.wrapping_add(at.get().wrapping_sub(self.start()) / HPAGE_PMD_SIZE)
    }

    /// The slots of the whole huge pages in a range of addresses that the VMA has.
    pub fn slots(&self, start: usize, end: usize) -> impl Iterator<Item = PmdAddr> {
        let end = end.min(self.end());
        let first = PmdAddr::align_up(start.max(self.start()));
        core::iter::successors(first, |at| at.next())
            .take_while(move |at| at.next().is_some_and(|next| next.get() <= end))
    }

    /// Lets those go on who wait for a userfaultfd to map a part of the huge page. The mmap lock must be
    /// held, as it is by who changes what they wait for.
    #[inline]
    pub fn wake_uffd(&self, at: PmdAddr) {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe { bindings::hgm_wake(self.as_ptr(), at.get(), HPAGE_PMD_SIZE) }
    }

    /// Whether a userfaultfd wants to know of faults on what is in the page cache already.
    #[inline]
    pub fn uffd_minor(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe { bindings::userfaultfd_minor(self.as_ptr()) }
    }
}

impl Deref for HgmVma {
    type Target = Vma;

    #[inline]
    fn deref(&self) -> &Vma {
        &self.0
    }
}

/// Whether the VMA is HugeTLB memory of this size of huge pages, which is the only one that can have
/// smaller leaves so far.
#[inline]
pub fn is_hugetlb_of_pmds(vma: &Vma) -> bool {
    // SAFETY: By its type invariant the VMA is valid.
    unsafe { bindings::hugetlb_vma_page_size(vma.as_ptr()) == HPAGE_PMD_SIZE }
}

/// Whether the VMA is HugeTLB memory.
#[inline]
pub fn is_hugetlb(vma: &Vma) -> bool {
    // SAFETY: By its type invariant the VMA is valid.
    unsafe { bindings::is_vm_hugetlb_page(vma.as_ptr()) }
}

/// Whether a VMA of HugeTLB memory has the lock without which no table can ever be freed. It gets one when
/// it is mapped, if there is memory: to give it one later would confuse those who have found none, and are
/// about to unlock it.
#[inline]
pub fn has_lock(vma: &Vma) -> bool {
    // SAFETY: By its type invariant the VMA is valid and locked, so that its lock stays.
    unsafe { bindings::hugetlb_vma_has_lock(vma.as_ptr()) }
}

impl Folio {
    /// Whether a part of it has failed. What HugeTLB knows of is never more precise than that.
    #[inline]
    pub fn is_hwpoisoned(&self) -> bool {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_test_hwpoison(self.as_raw()) }
    }

    /// Whether there are so many leaves that another table full of them might overflow a counter. A
    /// process can map a folio as often as it likes.
    #[inline]
    pub fn has_too_many_leaves(&self) -> bool {
        // SAFETY: By the type invariant the folio is not freed.
        unsafe { bindings::folio_mapcount(self.as_raw()) >= i32::MAX / 4 }
    }
}

impl FolioRef {
    /// Waits until nobody has it locked. Sleeps.
    #[inline]
    pub fn wait_unlocked(&self) {
        // SAFETY: We have a reference to the folio.
        unsafe { bindings::folio_wait_locked(self.as_raw()) }
    }
}

/// Whether the current task has been killed.
#[inline]
pub fn killed() -> bool {
    // SAFETY: Looks at the current task.
    unsafe { bindings::fatal_signal_pending() }
}
