// SPDX-License-Identifier: GPL-2.0

//! A list of slots in the order of their registration, with a cursor that goes round.
//!
//! A tree by sequence number gives the order, and lets the scan go on at the next slot when the one
//! at the cursor has gone; a tree by key finds a slot to remove.
//!
//! Locks: none; [`MmSlots`](super::MmSlots) has the list under a spinlock. So nothing is allocated
//! here, and what is removed is handed back.
//! Context: any.
//! Units: addresses in bytes.

use crate::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    },
};

/// The number of a registration. Never used twice.
pub(super) type Seq = u64;

/// Where a scan goes on. Belongs to a slot that is in the list.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    pub(super) seq: Seq,
    pub(super) address: usize,
}

/// A slot that was taken out of the list, to be dropped when the spinlock is not held any more.
pub(super) struct Removed<T> {
    _slot: Option<RBTreeNode<Seq, Slot<T>>>,
    _index: Option<RBTreeNode<usize, Seq>>,
    /// The cursor went from the last slot back to the start.
    pub(super) wrapped: bool,
}

/// A registration, found again by `key`.
pub(super) struct Slot<T> {
    key: usize,
    pub(super) value: T,
}

/// What the spinlock protects.
///
/// # Invariants
///
/// `by_key` has an entry for each slot of `by_seq` and no others. All sequence numbers are below
/// `next`. `cursor` and `busy` are numbers of slots in `by_seq`.
pub(super) struct List<T> {
    by_seq: RBTree<Seq, Slot<T>>,
    by_key: RBTree<usize, Seq>,
    next: Seq,
    /// [`None`]: at the start.
    cursor: Option<Cursor>,
    busy: Option<Seq>,
}

impl<T> List<T> {
    pub(super) fn new() -> Self {
        // INVARIANT: All is empty.
        Self {
            by_seq: RBTree::new(),
            by_key: RBTree::new(),
            next: 0,
            cursor: None,
            busy: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }

    /// The slot with that number.
    pub(super) fn get(&self, seq: Seq) -> Option<&Slot<T>> {
        self.by_seq.get(&seq)
    }

    /// The number of the slot with that key.
    pub(super) fn find(&self, key: usize) -> Option<Seq> {
        self.by_key.get(&key).copied()
    }

    /// Whether that slot is being scanned.
    pub(super) fn is_busy(&self, seq: Seq) -> bool {
        self.busy == Some(seq)
    }

    /// Whether no slot is being scanned.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_none()
    }

    /// Marks a slot of the list as being scanned.
    pub(super) fn mark(&mut self, seq: Seq) {
        // INVARIANT: The caller has found it in the list.
        self.busy = Some(seq);
    }

    /// Puts the cursor at the start.
    pub(super) fn rewind(&mut self) {
        self.cursor = None;
    }

    /// Puts a slot at the end. `key` must not be there yet.
    pub(super) fn insert(&mut self, memory: Memory<T>, key: usize, value: T) -> Removed<T> {
        let seq = self.next;
        // Registering once per nanosecond, this takes 584 years to wrap.
        self.next = seq.wrapping_add(1);
        // INVARIANT: One entry in each, and the number was the next.
        Removed {
            _slot: self
                .by_seq
                .insert(memory.slot.into_node(seq, Slot { key, value })),
            _index: self.by_key.insert(memory.index.into_node(key, seq)),
            wrapped: false,
        }
    }

    /// Where the next scan begins, and whether that is the start of the list.
    pub(super) fn resume(&self) -> Option<(Cursor, bool)> {
        match self.cursor {
            Some(cursor) => Some((cursor, false)),
            None => Some((self.cursor_from(0)?, true)),
        }
    }

    /// The first slot with a number of at least `seq`.
    fn cursor_from(&self, seq: Seq) -> Option<Cursor> {
        let found = self.by_seq.cursor_lower_bound(&seq)?;
        Some(Cursor {
            seq: *found.current().0,
            address: 0,
        })
    }

    /// Puts the cursor on the slot after `seq`, or else back to the start. Returns whether it went
    /// back.
    fn advance(&mut self, seq: Seq) -> bool {
        // INVARIANT: The slot, if any, was just found.
        self.cursor = seq.checked_add(1).and_then(|after| self.cursor_from(after));
        self.cursor.is_none()
    }

    /// Ends the scan of the busy slot `seq`: the cursor goes to `next`, or stays where the scan
    /// began if there is none.
    pub(super) fn release(&mut self, seq: Seq, next: Option<Next>) -> bool {
        self.busy = None;
        match next {
            Some(Next::Resume(address)) => {
                // INVARIANT: A busy slot is in the list.
                self.cursor = Some(Cursor { seq, address });
                false
            }
            Some(Next::Advance) => self.advance(seq),
            None => false,
        }
    }

    /// Takes a slot out. It must not be busy.
    pub(super) fn remove(&mut self, seq: Seq) -> Removed<T> {
        // INVARIANT: The cursor leaves the slot, and then both entries go.
        let wrapped = self.cursor.is_some_and(|at| at.seq == seq) && self.advance(seq);
        let key = self.by_seq.get(&seq).map(|slot| slot.key);
        Removed {
            _slot: self.by_seq.remove_node(&seq),
            _index: key.and_then(|key| self.by_key.remove_node(&key)),
            wrapped,
        }
    }
}

/// The memory for a slot.
pub(super) struct Memory<T> {
    slot: RBTreeNodeReservation<Seq, Slot<T>>,
    index: RBTreeNodeReservation<usize, Seq>,
}

impl<T> Memory<T> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            slot: RBTreeNodeReservation::new(GFP_KERNEL)?,
            index: RBTreeNodeReservation::new(GFP_KERNEL)?,
        })
    }
}

/// Where to scan after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At an address of the same mm, unless it is leaving.
    Resume(usize),
    /// At the next mm, if there is one, or else from the start of the list.
    Advance,
}

#[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
#[macros::kunit_tests(rust_mm_slots)]
mod tests {
    use super::*;

    /// A list of the keys 1 to `n`.
    fn list(n: usize) -> Result<List<()>> {
        let mut list = List::new();
        for key in 1..=n {
            list.insert(Memory::new()?, key, ());
        }
        Ok(list)
    }

    /// The key of the slot where the next scan begins, the address, and whether it is the start.
    fn at(list: &List<()>) -> Option<(usize, usize, bool)> {
        let (cursor, start) = list.resume()?;
        Some((list.by_seq.get(&cursor.seq)?.key, cursor.address, start))
    }

    /// Scans the slot at the cursor; returns whether that was the end of a pass.
    fn scan(list: &mut List<()>, next: Next) -> Option<bool> {
        let (cursor, _) = list.resume()?;
        list.busy = Some(cursor.seq);
        Some(list.release(cursor.seq, Some(next)))
    }

    /// Removes the slot with that key; returns whether the cursor went back to the start.
    fn exit(list: &mut List<()>, key: usize) -> Option<bool> {
        let seq = list.by_key.get(&key).copied()?;
        Some(list.remove(seq).wrapped)
    }

    #[test]
    fn scans_in_order_of_registration() -> Result {
        let mut list = list(2)?;
        assert_eq!(at(&list), Some((1, 0, true)));
        assert_eq!(scan(&mut list, Next::Resume(0x200000)), Some(false));
        assert_eq!(at(&list), Some((1, 0x200000, false)));
        assert_eq!(scan(&mut list, Next::Advance), Some(false));
        assert_eq!(at(&list), Some((2, 0, false)));
        // Who comes during a pass is scanned at its end.
        list.insert(Memory::new()?, 3, ());
        assert_eq!(scan(&mut list, Next::Advance), Some(false));
        assert_eq!(at(&list), Some((3, 0, false)));
        assert_eq!(scan(&mut list, Next::Advance), Some(true));
        assert_eq!(at(&list), Some((1, 0, true)));
        Ok(())
    }

    #[test]
    fn exit_moves_the_cursor_on() -> Result {
        let mut list = list(3)?;
        scan(&mut list, Next::Resume(0x200000));
        assert_eq!(exit(&mut list, 1), Some(false));
        assert_eq!(at(&list), Some((2, 0, false)));
        // Elsewhere it does not.
        scan(&mut list, Next::Resume(0x400000));
        list.insert(Memory::new()?, 4, ());
        assert_eq!(exit(&mut list, 3), Some(false));
        assert_eq!(at(&list), Some((2, 0x400000, false)));
        scan(&mut list, Next::Advance);
        // The last one of a pass ends it.
        assert_eq!(at(&list), Some((4, 0, false)));
        assert_eq!(exit(&mut list, 4), Some(true));
        assert_eq!(at(&list), Some((2, 0, true)));
        assert_eq!(exit(&mut list, 2), Some(false));
        assert_eq!(at(&list), None);
        assert!(list.by_key.is_empty());
        assert_eq!(exit(&mut list, 2), None);
        Ok(())
    }

    #[test]
    fn release_without_a_next_place_changes_nothing() -> Result {
        let mut list = list(1)?;
        list.busy = Some(0);
        assert!(!list.release(0, None));
        assert_eq!(list.busy, None);
        assert_eq!(at(&list), Some((1, 0, true)));
        Ok(())
    }
}
