// SPDX-License-Identifier: GPL-2.0

//! The locks that slots and tables live by. See the parent module for who takes which.

use super::{
    has_lock,
    HgmVma,
    OwnedSlot,
    Slot, //
};
use crate::{
    bindings,
    mm::region::PmdAddr,
    prelude::*,
    types::NotThreadSafe, //
};
use core::ptr::NonNull;

/// The mutex that serialises faults on one huge page of a file, in all processes, with each other and
/// with its removal from the page cache.
///
/// # Invariants
///
/// `hugetlb_fault_mutex_table[hash]` is held.
#[must_use = "the mutex is unlocked where the value is dropped"]
pub struct FaultMutex {
    hash: u32,
    _nts: NotThreadSafe,
}

impl FaultMutex {
    /// Takes the mutex. Sleeps.
    #[inline]
    pub fn lock(vma: &HgmVma, at: PmdAddr) -> Self {
        let hash = Self::hash(vma, at);
        // SAFETY: The hash is within the table.
        unsafe { bindings::hugetlb_fault_mutex_lock(hash) };
        // INVARIANT: Locked just now.
        Self {
            hash,
            _nts: NotThreadSafe,
        }
    }

    /// Takes over a mutex that C has locked.
    ///
    /// # Safety
    ///
    /// The mutex for `at` must be held, and be unlocked by nobody else.
    #[inline]
    pub unsafe fn adopt(vma: &HgmVma, at: PmdAddr) -> Self {
        // INVARIANT: By the requirement of this function.
        Self {
            hash: Self::hash(vma, at),
            _nts: NotThreadSafe,
        }
    }

    /// Whether it is the one for `at`.
    #[inline]
    pub(super) fn is_for(&self, vma: &HgmVma, at: PmdAddr) -> bool {
        self.hash == Self::hash(vma, at)
    }

    #[inline]
    fn hash(vma: &HgmVma, at: PmdAddr) -> u32 {
        // SAFETY: The mapping is valid.
        unsafe { bindings::hugetlb_fault_mutex_hash(vma.raw_mapping(), vma.huge_index(at)) }
    }
}

impl Drop for FaultMutex {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the mutex is held.
        unsafe { bindings::hugetlb_fault_mutex_unlock(self.hash) }
    }
}

/// A lock under which tables stay.
pub trait KeepsTables {
    /// The VMA whose tables stay.
    fn vma(&self) -> &HgmVma;

    /// The slot for `at`, if there is one yet.
    #[inline]
    fn slot(&self, at: PmdAddr) -> Option<Slot<'_>> {
        let vma = self.vma();
        if !vma.spans(at) {
            return None;
        }
        // SAFETY: The VMA is valid, and its lock is held.
        let slot = unsafe { bindings::hugetlb_walk(vma.as_ptr(), at.get()) };
        // SAFETY: Found just now, and the tables stay for as long as the lock is borrowed.
        NonNull::new(slot).map(|slot| unsafe { Slot::from_raw(vma, at, slot) })
    }
}

/// The HugeTLB VMA lock, for read. A VMA that has none is like one whose lock is held: its tables never go.
///
/// # Invariants
///
/// The lock is held for read.
#[must_use = "the lock is unlocked where the value is dropped"]
pub struct VmaReadLock<'v> {
    vma: &'v HgmVma,
    _nts: NotThreadSafe,
}

impl<'v> VmaReadLock<'v> {
    /// Takes the lock. Sleeps.
    #[inline]
    pub fn lock(vma: &'v HgmVma) -> Self {
        // SAFETY: The VMA is valid.
        unsafe { bindings::hugetlb_vma_lock_read(vma.as_ptr()) };
        // INVARIANT: Locked just now.
        Self {
            vma,
            _nts: NotThreadSafe,
        }
    }

    /// Takes over a lock that C has taken.
    ///
    /// # Safety
    ///
    /// The lock must be held for read, and be unlocked by nobody else.
    #[inline]
    pub unsafe fn adopt(vma: &'v HgmVma) -> Self {
        // INVARIANT: By the requirement of this function.
        Self {
            vma,
            _nts: NotThreadSafe,
        }
    }

    /// The slot for `at`, which is made if there is none. Sleeps. Fails with `ENOMEM`, or with `EINVAL` if
    /// the VMA does not reach there.
    #[inline]
    pub fn slot_or_alloc(&self, at: PmdAddr) -> Result<Slot<'_>> {
        if !self.vma.spans(at) {
            return Err(EINVAL);
        }
        // SAFETY: The VMA is valid, and its lock is held.
        let slot = unsafe { bindings::hgm_slot_alloc(self.vma.as_ptr(), at.get()) };
        let slot = NonNull::new(slot).ok_or(ENOMEM)?;
        // SAFETY: Found just now, and the tables stay for as long as the lock is borrowed.
        Ok(unsafe { Slot::from_raw(self.vma, at, slot) })
    }
}

impl KeepsTables for VmaReadLock<'_> {
    #[inline]
    fn vma(&self) -> &HgmVma {
        self.vma
    }
}

impl Drop for VmaReadLock<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::hugetlb_vma_unlock_read(self.vma.as_ptr()) }
    }
}

/// The HugeTLB VMA lock and the `i_mmap_rwsem`, both for write: nobody else has a table of the VMA in
/// hand, except GUP-fast. With it a table may be taken away, or be moved.
///
/// # Invariants
///
/// The VMA has a lock, and both locks are held for write.
#[must_use = "the locks are unlocked where the value is dropped"]
pub struct TablesLock<'v> {
    vma: &'v HgmVma,
    _nts: NotThreadSafe,
}

impl<'v> TablesLock<'v> {
    /// Takes the locks; [`None`] if the VMA has none, as there was no memory for it. Sleeps.
    #[inline]
    pub fn lock(vma: &'v HgmVma) -> Option<Self> {
        // SAFETY: The VMA is valid and locked, so that its lock stays.
        unsafe {
            if !has_lock(vma) {
                return None;
            }
            bindings::hugetlb_vma_lock_write(vma.as_ptr());
            bindings::i_mmap_lock_write(vma.raw_mapping());
        }
        // INVARIANT: Locked just now.
        Some(Self {
            vma,
            _nts: NotThreadSafe,
        })
    }

    /// The slot for `at`, if there is one yet.
    #[inline]
    pub fn slot(&self, at: PmdAddr) -> Option<OwnedSlot<'_>> {
        // SAFETY: Both locks are held for as long as they are borrowed.
        KeepsTables::slot(self, at).map(|slot| unsafe { OwnedSlot::new(slot) })
    }
}

impl KeepsTables for TablesLock<'_> {
    #[inline]
    fn vma(&self) -> &HgmVma {
        self.vma
    }
}

impl Drop for TablesLock<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the locks are held.
        unsafe {
            bindings::i_mmap_unlock_write(self.vma.raw_mapping());
            bindings::hugetlb_vma_unlock_write(self.vma.as_ptr());
        }
    }
}
