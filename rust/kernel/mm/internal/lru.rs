// SPDX-License-Identifier: GPL-2.0

//! Folios taken off the LRU and locked, so that nobody else works on them.
//!
//! Locks: the folio locks of the members are held; they are only ever tried for, as the holder may
//! have the anon_vma lock, which is inside them elsewhere. `lru_lock` is taken and released within.
//! Context: [`IsolatedFolios::isolate`] and [`IsolatedFolios::put_back`] do not sleep.
//! Units: pages.
//!
//! C headers: `mm/internal.h`, [`include/linux/mm_inline.h`](srctree/include/linux/mm_inline.h)

use crate::{
    bindings,
    mm::folio::Folio,
    types::NotThreadSafe, //
};
use core::{
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

/// Why a folio could not be isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Somebody else has it locked.
    Locked,
    /// Somebody holds a reference that is no mapping: a pin, or a walk in progress.
    Referenced,
    /// It is not on an LRU list.
    NotOnLru,
}

/// Puts what is on its way to the LRU lists of this CPU onto them. Does not sleep.
///
/// C: `lru_add_drain()`.
pub fn drain() {
    // SAFETY: May be called anywhere outside of interrupts.
    unsafe { bindings::lru_add_drain() }
}

/// Does the same on all CPUs. Sleeps.
///
/// C: `lru_add_drain_all()`.
pub fn drain_all() {
    // SAFETY: The callers may sleep; no lock is needed.
    unsafe { bindings::lru_add_drain_all() }
}

/// A folio that is off the LRU and locked.
///
/// # Invariants
///
/// We own the reference of the isolation and the folio lock.
#[must_use = "the folio stays locked and off the LRU when the value is dropped"]
pub(crate) struct Member(NonNull<bindings::folio>);

impl Member {
    /// Takes over the reference of an isolation and the lock.
    ///
    /// # Safety
    ///
    /// The caller must own both.
    #[inline]
    pub(crate) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(folio)
    }
}

/// Folios that are locked, off the LRU and counted as isolated. Dropping the value undoes all of
/// it.
///
/// The members are chained through `lru.next`, which is unused while a folio is off the LRU; the
/// other half of `lru` may hold the count of mlocks and is left alone.
///
/// # Invariants
///
/// Each member of the chain was isolated by this value: we own the reference of the isolation and
/// the folio lock. `count` has seen each member once more than it has been told of its release.
#[must_use = "the folios are put back when the value is dropped"]
pub struct IsolatedFolios {
    head: *mut bindings::folio,
    /// The last member, if there is one.
    tail: *mut bindings::folio,
    count: IsolatedCount,
    _nts: NotThreadSafe,
}

impl IsolatedFolios {
    /// No folio yet.
    #[inline]
    pub fn new() -> Self {
        // INVARIANT: The chain is empty.
        Self {
            head: null_mut(),
            tail: null_mut(),
            count: IsolatedCount::new(),
            _nts: NotThreadSafe,
        }
    }

    /// The next member behind `folio`.
    ///
    /// # Safety
    ///
    /// `folio` must be a member.
    #[inline]
    unsafe fn next(folio: *mut bindings::folio) -> *mut *mut bindings::folio {
        // SAFETY: Members are valid folios, and own their `lru` while they are off the LRU. The
        // unions are those that C leaves without a name.
        let next = unsafe {
            &raw mut (*folio)
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .lru
                .next
        };
        next.cast()
    }

    /// The members, in the order in which they came.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Folio> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let folio = NonNull::new(at)?.as_ptr();
            // SAFETY: `folio` is a member by the type invariant.
            at = unsafe { *Self::next(folio) };
            // SAFETY: A member has a reference of ours for as long as `self` lives.
            Some(unsafe { Folio::from_raw(folio) })
        })
    }

    /// Whether the folio is a member.
    #[inline]
    pub fn contains(&self, folio: &Folio) -> bool {
        self.iter().any(|member| core::ptr::eq(member, folio))
    }

    /// Adds a folio behind the others.
    #[inline]
    pub(crate) fn adopt(&mut self, member: Member) {
        let raw = ManuallyDrop::new(member).0.as_ptr();
        // SAFETY: `raw` becomes a member. The last one, if there is one, is a member, too.
        unsafe {
            *Self::next(raw) = null_mut();
            match NonNull::new(self.tail) {
                Some(tail) => *Self::next(tail.as_ptr()) = raw,
                None => self.head = raw,
            }
            self.count.add(Folio::from_raw(raw), 1);
        }
        // INVARIANT: By the invariant of `Member` the folio is isolated and locked; it was counted.
        self.tail = raw;
    }

    /// Locks a folio, makes sure that only page tables refer to it, and takes it off the LRU.
    ///
    /// On an error the folio is as it was.
    ///
    /// C: the middle of `__collapse_huge_page_isolate()`.
    #[inline]
    pub fn isolate(&mut self, folio: &Folio) -> Result<(), Busy> {
        let raw = folio.as_raw();
        // SAFETY: The folio is not freed while it is borrowed.
        if !unsafe { bindings::folio_trylock(raw) } {
            return Err(Busy::Locked);
        }
        let busy = if folio.has_extra_references() {
            Busy::Referenced
        // SAFETY: As above; the folio has a reference, so the LRU may take another.
        } else if !unsafe { bindings::folio_isolate_lru(raw) } {
            Busy::NotOnLru
        } else {
            // SAFETY: The folio was just locked and isolated.
            self.adopt(unsafe { Member::from_raw(NonNull::from(folio).cast()) });
            return Ok(());
        };
        // SAFETY: The folio was locked above.
        unsafe { bindings::folio_unlock(raw) };
        Err(busy)
    }

    /// The same for a large folio that may be a member already.
    #[inline]
    pub(crate) fn isolate_once(&mut self, folio: &Folio) -> Result<(), Busy> {
        // Neighbouring pages are mostly of the same folio.
        if core::ptr::eq(self.tail, folio.as_raw()) {
            return Ok(());
        }
        match self.isolate(folio) {
            // Then it may be locked by us.
            Err(Busy::Locked) if self.contains(folio) => Ok(()),
            result => result,
        }
    }

    /// Makes the count of isolated folios visible in `/proc/vmstat`, before work that takes long.
    #[inline]
    pub fn settle(&mut self) {
        self.count.settle();
    }

    /// Takes one member out of the chain. Its lock and reference go to the caller.
    #[inline]
    fn pop(&mut self) -> Option<NonNull<bindings::folio>> {
        let folio = NonNull::new(self.head)?;
        // SAFETY: `head` is a member by the type invariant.
        self.head = unsafe { *Self::next(folio.as_ptr()) };
        if self.head.is_null() {
            self.tail = null_mut();
        }
        // SAFETY: By the type invariant we own a reference, which goes to the caller below.
        let member = unsafe { Folio::from_raw(folio.as_ptr()) };
        self.count.add(member, -1);
        Some(folio)
    }

    /// Releases the folios after their mappings here were removed and their content copied.
    ///
    /// A folio that nobody else refers to is dead: it is freed in batches, without going through
    /// the LRU lists again, which would only free it later. All others are put back.
    ///
    /// Only for large folios: a small one of KSM can be looked up without a reference.
    pub(super) fn release_unmapped(mut self) {
        let mut dead = DeadFolios::new();
        while let Some(folio) = self.pop() {
            let folio = folio.as_ptr();
            // SAFETY: `pop` gave us a reference and the folio lock, which all of these need.
            unsafe {
                if bindings::folio_test_swapcache(folio) && !bindings::folio_mapped(folio) {
                    bindings::folio_free_swap(folio);
                }
                if bindings::folio_ref_count(folio) == 1 {
                    // Only our reference is left and the folio cannot be looked up any more. Flags
                    // that belong to a list must not reach the page allocator.
                    bindings::folio_clear_active(folio);
                    bindings::folio_clear_unevictable(folio);
                    bindings::folio_unlock(folio);
                    dead.push(folio);
                } else {
                    bindings::folio_unlock(folio);
                    bindings::folio_putback_lru(folio);
                }
            }
        }
    }

    /// Releases the folios after another took their place in the page cache.
    ///
    /// # Safety
    ///
    /// No page cache and no page table may have the folios any more, but for the references of the
    /// page cache: one per page, which are ours to drop.
    pub(crate) unsafe fn release_replaced(mut self) {
        let mut dead = DeadFolios::new();
        while let Some(folio) = self.pop() {
            let folio = folio.as_ptr();
            // SAFETY: `pop` gave us a reference and the folio lock, which all of these need. Whoever
            // found the folio earlier sees, once it is unlocked, that it is in no mapping.
            unsafe {
                bindings::collapse_folio_clear_place(folio);
                bindings::folio_clear_active(folio);
                bindings::folio_clear_unevictable(folio);
                bindings::folio_unlock(folio);
                // CAST: A folio has fewer pages.
                bindings::folio_put_refs(folio, bindings::folio_nr_pages(folio) as i32);
                dead.push(folio);
            }
        }
    }

    /// Unlocks the folios and puts them back.
    fn put_back(&mut self) {
        while let Some(folio) = self.pop() {
            // SAFETY: `pop` gave us the folio lock and the reference of the isolation.
            unsafe {
                bindings::folio_unlock(folio.as_ptr());
                bindings::folio_putback_lru(folio.as_ptr());
            }
        }
    }
}

impl Drop for IsolatedFolios {
    fn drop(&mut self) {
        self.put_back();
    }
}

// The path through the unnamed unions is that of `lru`.
const _: () = assert!(
    core::mem::offset_of!(
        bindings::folio,
        __bindgen_anon_1.__bindgen_anon_1.__bindgen_anon_1.lru
    ) == bindings::COLLAPSE_LRU_OFFSET as usize
);

/// The change of `nr_isolated_anon` or `nr_isolated_file` of one node that is still to be told to
/// the counters. Most folios of a collapse share a node and a kind, so one update serves them all.
///
/// # Invariants
///
/// `node` is a valid node unless `nr` is zero.
struct IsolatedCount {
    node: *mut bindings::pglist_data,
    item: bindings::node_stat_item,
    nr: isize,
}

impl IsolatedCount {
    #[inline]
    fn new() -> Self {
        Self {
            node: null_mut(),
            item: bindings::node_stat_item_NR_ISOLATED_ANON,
            nr: 0,
        }
    }

    /// Counts `sign` times the pages of a folio.
    #[inline]
    fn add(&mut self, folio: &Folio, sign: isize) {
        let raw = folio.as_raw();
        // SAFETY: The folio is not freed while it is borrowed.
        let (node, file, nr) = unsafe {
            (
                bindings::folio_pgdat(raw),
                bindings::folio_is_file_lru(raw) != 0,
                bindings::folio_nr_pages(raw),
            )
        };
        let item = if file {
            bindings::node_stat_item_NR_ISOLATED_FILE
        } else {
            bindings::node_stat_item_NR_ISOLATED_ANON
        };
        if node != self.node || item != self.item {
            self.settle();
            // INVARIANT: The node of a folio is valid.
            self.node = node;
            self.item = item;
        }
        self.nr = self.nr.wrapping_add(nr.wrapping_mul(sign));
    }

    /// Tells the counters.
    #[inline]
    fn settle(&mut self) {
        if self.nr != 0 {
            // SAFETY: By the type invariant the node is valid.
            unsafe { bindings::mod_node_page_state(self.node, self.item, self.nr) };
            self.nr = 0;
        }
    }
}

impl Drop for IsolatedCount {
    #[inline]
    fn drop(&mut self) {
        self.settle();
    }
}

/// References to unlocked folios that are dropped many at a time. Mostly they are the last ones.
///
/// # Invariants
///
/// The batch is initialised; we own one reference to each of its folios.
pub(super) struct DeadFolios(MaybeUninit<bindings::folio_batch>);

impl DeadFolios {
    #[inline]
    pub(super) fn new() -> Self {
        let mut batch = MaybeUninit::uninit();
        // SAFETY: Initialises what a batch needs; the slots are written before they are read.
        unsafe { bindings::folio_batch_init(batch.as_mut_ptr()) };
        // INVARIANT: Just initialised, and empty.
        Self(batch)
    }

    /// Takes over the caller's reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to the folio, and have it unlocked.
    #[inline]
    pub(super) unsafe fn push(&mut self, folio: *mut bindings::folio) {
        // SAFETY: By the type invariant; there is room, as a full batch is emptied at once.
        unsafe {
            if bindings::folio_batch_add(self.0.as_mut_ptr(), folio) == 0 {
                bindings::folios_put(self.0.as_mut_ptr());
            }
        }
    }
}

impl Drop for DeadFolios {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant. An empty batch is allowed.
        unsafe { bindings::folios_put(self.0.as_mut_ptr()) }
    }
}
