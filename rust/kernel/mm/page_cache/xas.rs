// SPDX-License-Identifier: GPL-2.0

//! The state of an operation on the entries of a page cache, and their lock.
//!
//! # Storing one entry over an extent takes no memory
//!
//! The commit of a collapse stores one entry of the extent's order, and must not fail. Words: a node
//! has 64 slots (`XA_CHUNK_SIZE`; the order of that is 6, `XA_CHUNK_SHIFT`); the slots of a node of
//! level `l` stand for `64^l` pages each. An entry of order `k` is kept at level `k / 6`, in
//! `1 << (k % 6)` neighbouring slots of one node, the first of which holds it while the others refer
//! to that: orders 0 to 5 in a leaf, 6 to 11 one level up, where a slot that held a leaf takes the
//! entry, and the leaf goes. So `xas_store()` needs memory for two things only: nodes that are
//! missing between the root and level `k / 6`, and a root that is too low.
//!
//! When [`CommitCursor::store`] is called, under the `i_pages` lock, each page of the extent has an
//! entry of an order below `k`: a folio whose lock we hold, or the marker of a hole, stored under
//! this hold of the lock. Nobody else takes a locked folio out, replaces or splits it, so its entry
//! has been there since [`Gather`](super::Gather) took it; a marker stays as nobody else has the
//! `i_pages` lock. It follows:
//!
//! - *The root is a node.* A tree without nodes has page 0 and nothing else; an extent has more than
//!   one page.
//! - *The root is high enough, or lacks one level.* A root of level `l` covers the pages below
//!   `64^(l + 1)`. The last page of the extent has an entry, so these are `1 << k` at least. If they
//!   are more, `l` is `k / 6` or above, and the root covers page `1 << k`, too, which is what a store
//!   asks for where an entry of more than one page is to be at 0, lest the entry become the root
//!   itself (`xas_max()`). If they are as many, the extent is at 0, is all that the root covers, and
//!   `k` is a multiple of 6: 64 pages at the start of a file of which nothing further is cached. Then
//!   one node is put on top, of level `k / 6`, and never two, since that covers 64 times as much.
//! - *No node is missing below it.* A node is not freed while it holds an entry, nor is one above
//!   it. The entry of the first page has an order `j < k`, and so is kept at level `j / 6`, which is
//!   not above `k / 6`: the node of level `k / 6` that covers it is on the way there. That is one
//!   node for the whole extent, as something aligned never crosses the end of a node.
//!
//! The node that may be put on top could be made beforehand, but nothing would keep it: whoever takes
//! out the only page behind the extent lowers the root again (`xas_shrink()`). So
//! [`CommitCursor::new`] allocates it where it may be needed, and the cursor carries it: `xas_store()`
//! takes that before it asks for memory. The holes are marked by another cursor, which cannot use it
//! up. What the markers need is another matter: they may fail, and then nothing has been stored yet.
//!
//! Locks: [`LockedEntries`] holds the `i_pages` lock, with interrupts off.
//! Context: [`XaState::create_nodes`] and [`CommitCursor::new`] sleep.
//! Units: pages.
//!
//! C header: [`include/linux/xarray.h`](srctree/include/linux/xarray.h)

use crate::{
    bindings,
    ffi::c_void,
    mm::page_cache::{
        Extent,
        Mapping, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

/// A cursor in a page cache.
///
/// # Invariants
///
/// The state is initialised, for the entries of a mapping that is valid for `'m`.
pub(super) struct XaState<'m> {
    state: Opaque<bindings::xa_state>,
    _mapping: PhantomData<&'m Mapping>,
}

impl<'m> XaState<'m> {
    /// A cursor at page `index`, for entries of the given order.
    #[inline]
    pub(super) fn new(mapping: &'m Mapping, index: usize, order: u8) -> Self {
        let state = Opaque::uninit();
        // SAFETY: The mapping is valid; the state is written only. Nothing points to it later.
        unsafe {
            bindings::khugepaged_xas_init(state.get(), mapping.as_raw(), index, order.into())
        };
        // INVARIANT: Just initialised.
        Self {
            state,
            _mapping: PhantomData,
        }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::xa_state {
        self.state.get()
    }

    /// Makes sure that there is a slot for each page of an extent. Sleeps. `false` if there is no
    /// memory; what nodes there are by then stay, see [`LockedEntries::free_empty_nodes`].
    ///
    /// C: `xas_create_range()`.
    pub(super) fn create_nodes(mapping: &'m Mapping, extent: Extent) -> bool {
        let this = Self::new(mapping, extent.start(), extent.order().get());
        loop {
            // SAFETY: By the type invariant the state is valid. The lock is not held yet.
            let error = unsafe {
                bindings::xas_lock_irq(this.as_raw());
                bindings::xas_create_range(this.as_raw());
                let error = bindings::xas_error(this.as_raw());
                bindings::xas_unlock_irq(this.as_raw());
                error
            };
            if error == 0 {
                return true;
            }
            // SAFETY: By the type invariant the state is valid. No lock is held.
            if !unsafe { bindings::xas_nomem(this.as_raw(), bindings::GFP_KERNEL) } {
                return false;
            }
        }
    }
}

impl Drop for XaState<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the state is valid. Frees a node that was not needed.
        unsafe { bindings::xas_destroy(self.as_raw()) }
    }
}

/// The cursor of a commit, with all the memory that its store may take.
///
/// # Invariants
///
/// The cursor is at the extent, for an entry of its order. If [`store_may_grow`] says so, it carries
/// a node.
pub(super) struct CommitCursor<'m> {
    xas: XaState<'m>,
}

impl<'m> CommitCursor<'m> {
    /// Allocates what may be needed. Sleeps. [`None`] if there is no memory.
    pub(super) fn new(mapping: &'m Mapping, extent: Extent) -> Option<Self> {
        let xas = XaState::new(mapping, extent.start(), extent.order().get());
        if store_may_grow(extent) {
            // SAFETY: By the type invariant the state is valid. Told that it lacks a node, it is
            // given one, and starts anew. No lock is held but those of folios, inside of which no
            // reclaim may wait for a file system, which locks folios within its transactions.
            let given = unsafe {
                bindings::xas_set_err(xas.as_raw(), -(bindings::ENOMEM as isize));
                bindings::xas_nomem(xas.as_raw(), bindings::COLLAPSE_GFP_NOFS)
            };
            if !given {
                return None;
            }
        }
        // INVARIANT: Just made so.
        Some(Self { xas })
    }

    /// Stores an entry over the extent. Cannot fail, for the reasons at the top of this file.
    ///
    /// # Safety
    ///
    /// `entries` must be those of the same mapping. Each page of the extent must have an entry of a
    /// lesser order than the extent's: a folio that the caller has locked, or a marker. The caller
    /// takes over the references that these stood for.
    #[inline]
    pub(super) unsafe fn store(self, _entries: &LockedEntries<'m>, entry: *mut c_void) {
        let xas = self.xas.as_raw();
        // SAFETY: By the requirements of this function; the lock is held.
        let error = unsafe {
            bindings::xas_store(xas, entry);
            bindings::xas_error(xas)
        };
        crate::warn_on!(error != 0);
    }
}

/// Whether a store over an extent may need a node, to make the tree higher: at page 0, where the
/// extent may be all that the root covers.
#[inline]
fn store_may_grow(extent: Extent) -> bool {
    extent.start() == 0
        && u32::from(extent.order().get()).is_multiple_of(bindings::COLLAPSE_XA_CHUNK_SHIFT)
}

/// The entries of a page cache under their lock.
///
/// # Invariants
///
/// The current CPU holds the lock, with interrupts off.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub(super) struct LockedEntries<'m> {
    xas: XaState<'m>,
    _nts: NotThreadSafe,
}

impl<'m> LockedEntries<'m> {
    /// Takes the lock.
    #[inline]
    pub(super) fn lock(mapping: &'m Mapping) -> Self {
        let xas = XaState::new(mapping, 0, 0);
        // SAFETY: The state is valid.
        unsafe { bindings::xas_lock_irq(xas.as_raw()) };
        // INVARIANT: Locked just now.
        Self {
            xas,
            _nts: NotThreadSafe,
        }
    }

    /// The cursor, for C.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::xa_state {
        self.xas.as_raw()
    }

    /// Stores `new` in each slot of the extent that holds `old`. Returns how many, and whether that
    /// was all: it stops at an error.
    #[inline]
    fn replace_each(
        &mut self,
        extent: Extent,
        old: *mut c_void,
        new: *mut c_void,
    ) -> (usize, bool) {
        let xas = self.as_raw();
        let mut replaced: usize = 0;
        // SAFETY: By the type invariant the lock is held, which the cursor needs to move and store.
        unsafe {
            bindings::xas_set(xas, extent.start());
            for _ in extent.start()..extent.end() {
                if bindings::xas_next(xas) == old {
                    bindings::xas_store(xas, new);
                    if bindings::xas_error(xas) != 0 {
                        return (replaced, false);
                    }
                    replaced = replaced.wrapping_add(1);
                }
            }
        }
        (replaced, true)
    }

    /// Stores an entry in each hole of the extent that makes lookups wait. Returns how many, and
    /// whether that was all.
    #[inline]
    pub(super) fn mark_holes(&mut self, extent: Extent) -> (usize, bool) {
        // SAFETY: Makes a constant.
        let retry = unsafe { bindings::collapse_xa_retry_entry() };
        self.replace_each(extent, null_mut(), retry)
    }

    /// Undoes [`Self::mark_holes`]. Frees the nodes that are empty then.
    #[inline]
    pub(super) fn unmark_holes(&mut self, extent: Extent) {
        // SAFETY: Makes a constant.
        let retry = unsafe { bindings::collapse_xa_retry_entry() };
        self.replace_each(extent, retry, null_mut());
    }

    /// Frees the nodes of an extent that hold nothing, as [`XaState::create_nodes`] leaves them if
    /// no page follows.
    pub(super) fn free_empty_nodes(&mut self, extent: Extent) {
        let xas = self.as_raw();
        let chunk = bindings::COLLAPSE_XA_CHUNK_SIZE as usize;
        for index in (extent.start()..extent.end()).step_by(chunk) {
            // SAFETY: By the type invariant the lock is held. Storing something and nothing again
            // makes the XArray see that the node is empty; there is a slot, so it takes no memory.
            unsafe {
                bindings::xas_set(xas, index);
                if bindings::xas_load(xas).is_null() && bindings::collapse_xas_node_is_empty(xas) {
                    bindings::xas_store(xas, bindings::collapse_xa_retry_entry());
                    bindings::xas_store(xas, null_mut());
                }
            }
        }
    }
}

impl Drop for LockedEntries<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::xas_unlock_irq(self.as_raw()) }
    }
}
