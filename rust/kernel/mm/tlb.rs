// SPDX-License-Identifier: GPL-2.0

//! TLB duties that are owed until they are done.
//!
//! Locks: none of its own.
//! Context: sends IPIs to all CPUs and waits for them; interrupts must be on.
//!
//! C header: [`include/asm-generic/tlb.h`](srctree/include/asm-generic/tlb.h)

use crate::{
    bindings,
    types::NotThreadSafe, //
};

/// The wait for lockless page-table walkers that is owed after a table was unhooked.
///
/// GUP-fast walks with interrupts off and takes no lock. It may have read the PMD before it was
/// cleared, and takes references to pages until it looks at the PMD again. Nobody may trust a
/// reference count, or free the table, before every such walk has ended: dropping this value waits
/// for that.
///
/// C: `tlb_remove_table_sync_one()`.
#[must_use = "the wait happens where the value is dropped"]
pub struct TableSync(());

impl TableSync {
    /// Owes a wait from now on.
    #[inline]
    pub fn owed() -> Self {
        Self(())
    }
}

impl Drop for TableSync {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: May be called in any context that has interrupts on, as the holders of a
        // detached table do.
        unsafe { bindings::khugepaged_table_sync_one() }
    }
}

/// The TLB flush that is owed after folios were unmapped, one for all of them. Dropping the value
/// flushes.
///
/// The duty is kept in the task, so values do not know of each other's; to flush too often does no
/// harm.
///
/// C: `TTU_BATCH_FLUSH`, `try_to_unmap_flush()`.
#[must_use = "the flush happens where the value is dropped"]
pub struct UnmapBatch(NotThreadSafe);

impl UnmapBatch {
    /// Owes nothing yet.
    #[inline]
    pub fn new() -> Self {
        Self(NotThreadSafe)
    }

    /// Removes a folio from all page tables, as far as that can be done; mlocked memory is no
    /// exception. Sleeps.
    ///
    /// # Safety
    ///
    /// The folio must be locked by us.
    #[inline]
    pub(crate) unsafe fn unmap(&mut self, folio: *mut bindings::folio) {
        let flags = bindings::ttu_flags_TTU_IGNORE_MLOCK | bindings::ttu_flags_TTU_BATCH_FLUSH;
        // SAFETY: The folio is locked by the caller.
        unsafe { bindings::try_to_unmap(folio, flags) }
    }

    /// Flushes now.
    #[inline]
    pub fn flush(&mut self) {
        // SAFETY: Flushes what the current task owes, if anything; interrupts are on.
        unsafe { bindings::try_to_unmap_flush() }
    }
}

impl Drop for UnmapBatch {
    #[inline]
    fn drop(&mut self) {
        self.flush();
    }
}
