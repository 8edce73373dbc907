// SPDX-License-Identifier: GPL-2.0

//! The address spaces that a daemon scans, one after the other, for ever.
//!
//! A *slot* is the registration of an mm. Slots are scanned in the order in which they came, which
//! is the order of their sequence numbers; the *cursor* is the slot and the address where the scan
//! goes on next time. [`ScanTicket`] is the right to scan the slot at the cursor: while it lives,
//! the slot is *busy*.
//!
//! A slot holds `mm_count`, not `mm_users`: being registered does not keep a process alive. Instead
//! exit tells us, by [`MmSlots::exit`], after `mm_users` has become zero and before the page tables
//! go. An idle slot is removed at once. A busy one is left to the scanner, but the exiting task
//! takes the mmap lock for write once, that is, it waits until the scanner is out of the page
//! tables. From then on the scanner finds `mm_users` to be zero whenever it takes the lock.
//!
//! mm/khugepaged.c has one difference: there the slot at the cursor counts as busy even between two
//! scans, while the daemon sleeps. An mm that exits then is kept, with its `mm_struct`, until the
//! daemon comes by, which counts it as progress of 1 and as a `mm_khugepaged_scan` event. Here it
//! is gone with its exit, and the cursor moves on as it would have.
//!
//! Locks: one spinlock, innermost, under which nothing is allocated, freed or released.
//! Context: [`MmSlots::enter`] and [`MmSlots::exit`] may sleep.
//! Units: addresses in bytes.
//!
//! C header: [`mm/mm_slot.h`](srctree/mm/mm_slot.h)

use crate::{
    bindings,
    mm::{
        mmap_lock::PinnedMm,
        Mm,
        MmWithUser, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        new_spinlock,
        SpinLock, //
    },
};
use core::mem::ManuallyDrop;

mod list;
pub use list::Next;
use list::{
    Cursor,
    List,
    Memory,
    Seq, //
};

/// The list of address spaces to scan.
#[pin_data]
pub struct MmSlots {
    #[pin]
    list: SpinLock<List<ARef<Mm>>>,
}

impl MmSlots {
    /// Makes an empty list.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_spinlock!(List::new(), "MmSlots::list"),
        })
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }

    /// Whether `mm` is registered, or about to be.
    #[inline]
    pub fn is_registered(mm: &Mm) -> bool {
        // SAFETY: The mm is valid since it is a reference.
        unsafe { bindings::mm_flags_test(bindings::MMF_VM_HUGEPAGE as c_int, mm.as_raw()) }
    }

    /// Registers an mm that is not registered yet. Sleeps.
    ///
    /// Returns whether this is the first in an empty list. Without memory nothing happens; the
    /// next occasion tries again.
    ///
    /// C: `__khugepaged_enter()`.
    ///
    /// # Safety
    ///
    /// When the last user of `mm` goes, [`MmSlots::exit`] of this list is called for it before the
    /// first of its page tables is torn down.
    pub unsafe fn enter(&self, mm: &MmWithUser) -> bool {
        let Ok(memory) = Memory::new() else {
            return false;
        };
        // SAFETY: The mm is valid since it is a reference.
        if unsafe {
            bindings::mm_flags_test_and_set(bindings::MMF_VM_HUGEPAGE as c_int, mm.as_raw())
        } {
            return false;
        }

        let mm: &Mm = mm;
        let value = ARef::from(mm);
        let mut list = self.list.lock();
        let first = list.is_empty();
        let replaced = list.insert(memory, mm.as_raw().addr(), value);
        drop(list);
        drop(replaced);
        first
    }

    /// Takes out an mm whose last user has gone. If it is being scanned, waits until the scanner
    /// has let go of its page tables. Sleeps.
    ///
    /// Returns whether the cursor went back to the start because of this.
    ///
    /// C: `__khugepaged_exit()`.
    pub fn exit(&self, mm: &Mm) -> bool {
        let mut list = self.list.lock();
        let Some(seq) = list.find(mm.as_raw().addr()) else {
            return false;
        };
        let removed = (!list.is_busy(seq)).then(|| list.remove(seq));
        drop(list);

        if let Some(removed) = removed {
            // SAFETY: The mm is valid since it is a reference.
            unsafe { bindings::mm_flags_clear(bindings::MMF_VM_HUGEPAGE as c_int, mm.as_raw()) };
            return removed.wrapped;
        }
        // Whoever scans holds the lock for read while it is in the page tables. When it takes the
        // lock again it sees that `mm_users` is zero. `ScanTicket` removes the slot.
        //
        // SAFETY: The mm is valid since it is a reference.
        unsafe { bindings::mmap_write_lock(mm.as_raw()) };
        // SAFETY: The lock was just taken.
        unsafe { bindings::mmap_write_unlock(mm.as_raw()) };
        false
    }

    /// Begins to scan at the cursor. [`None`] if nothing is registered, if somebody else is
    /// scanning, or if the cursor is at the start of the list and `may_start` forbids that.
    pub fn begin_scan(&self, may_start: bool) -> Option<ScanTicket<'_>> {
        let mut list = self.list.lock();
        if !list.is_idle() {
            return None;
        }
        let (Cursor { seq, address }, from_start) = list.resume()?;
        if from_start && !may_start {
            return None;
        }
        let mm = list.get(seq)?.value.clone();
        list.mark(seq);
        drop(list);
        // INVARIANT: The slot was just marked for this ticket.
        Some(ScanTicket {
            busy: Busy { slots: self, seq },
            mm,
            address,
            from_start,
        })
    }

    /// Puts the cursor at the start of the list.
    pub fn rewind(&self) {
        self.list.lock().rewind();
    }

    /// Ends a scan; removes the slot if the last user of the mm has gone, which also moves the
    /// cursor on.
    fn release(&self, seq: Seq, next: Option<Next>) -> bool {
        let mut list = self.list.lock();
        let (leaving, exited) = match list.get(seq) {
            Some(slot) => {
                // SAFETY: The slot holds a reference to the mm. `exit()` of this mm, if it was not
                // called yet, waits for the spinlock; if it was, it found the slot busy and takes
                // the mmap lock for write.
                let mm = unsafe { PinnedMm::new(&slot.value) };
                (mm.is_leaving(), mm.has_exited())
            }
            None => (true, false),
        };
        let next = match next {
            Some(_) if leaving => Some(Next::Advance),
            next => next,
        };
        let wrapped = list.release(seq, next);
        let removed = exited.then(|| list.remove(seq));
        drop(list);
        wrapped || removed.is_some_and(|removed| removed.wrapped)
    }
}

/// That a slot is busy, until this is dropped.
///
/// # Invariants
///
/// `seq` is the busy slot of `slots`, marked for this value alone.
struct Busy<'s> {
    slots: &'s MmSlots,
    seq: Seq,
}

impl Busy<'_> {
    fn release(self, next: Next) -> bool {
        let this = ManuallyDrop::new(self);
        this.slots.release(this.seq, Some(next))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.slots.release(self.seq, None);
    }
}

/// The right to scan an mm.
///
/// Exit of the mm waits for the ticket's holder to be out of the page tables, see the head of this
/// file. A ticket that is dropped instead of [finished](ScanTicket::finish) leaves the cursor where
/// it was.
///
/// # Invariants
///
/// `mm` is the mm of the slot that `busy` marks.
#[must_use = "the scan ends immediately when the ticket is unused"]
pub struct ScanTicket<'s> {
    busy: Busy<'s>,
    mm: ARef<Mm>,
    address: usize,
    from_start: bool,
}

/// What [`ScanTicket::finish`] gives back.
pub struct Finished {
    /// The mm, which may have left the list.
    pub mm: ARef<Mm>,
    /// Whether this was the last mm of a pass: the next scan begins at the start of the list.
    pub wrapped: bool,
}

impl ScanTicket<'_> {
    /// The mm.
    #[inline]
    pub fn mm(&self) -> PinnedMm<'_> {
        // SAFETY: The ticket holds a reference to the mm. As long as `self` is borrowed the slot is
        // busy, by the type invariants, and a busy slot makes `MmSlots::exit()` take the mmap lock
        // for write after `mm_users` became zero and before the page tables go, which the caller
        // of `MmSlots::enter()` has promised to call.
        unsafe { PinnedMm::new(&self.mm) }
    }

    /// Where the scan goes on: 0 if the mm is scanned from its beginning.
    #[inline]
    pub fn address(&self) -> usize {
        self.address
    }

    /// Whether this is the first mm of a pass.
    #[inline]
    pub fn from_start(&self) -> bool {
        self.from_start
    }

    /// Ends the scan.
    pub fn finish(self, next: Next) -> Finished {
        let Self { busy, mm, .. } = self;
        let wrapped = busy.release(next);
        Finished { mm, wrapped }
    }
}
