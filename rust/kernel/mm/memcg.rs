// SPDX-License-Identifier: GPL-2.0

//! Charging new folios to a memory control group.
//!
//! Locks: none; not to be called under a spinlock.
//! Context: may sleep and reclaim, as the flags allow.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

use crate::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    mm::{
        folio::{
            HugeGfp,
            NewFolio, //
        },
        Mm, //
    }, //
};
use core::ops::Deref;

/// A new folio that a control group pays for. The charge goes with the folio.
///
/// # Invariants
///
/// The folio is charged.
#[must_use = "the folio is freed when it is unused"]
pub struct ChargedFolio(NewFolio);

impl NewFolio {
    /// Charges the folio to the control group of `mm`.
    ///
    /// Fails with ENOMEM when the group is at its limit and reclaim does not help; the folio is
    /// freed then.
    ///
    /// C: `mem_cgroup_charge()`.
    #[inline]
    pub fn charge(self, mm: &Mm, gfp: HugeGfp) -> Result<ChargedFolio> {
        // SAFETY: The folio is ours and, by its type, not charged; the mm is valid.
        to_result(unsafe {
            bindings::mem_cgroup_charge(self.folio().as_raw(), mm.as_raw(), gfp.as_raw())
        })?;
        // INVARIANT: Charged just now.
        Ok(ChargedFolio(self))
    }
}

impl Deref for ChargedFolio {
    type Target = NewFolio;

    #[inline]
    fn deref(&self) -> &NewFolio {
        &self.0
    }
}

impl ChargedFolio {
    /// Allocates what the group's list of split candidates needs before it can hold the folio.
    ///
    /// C: `folio_memcg_alloc_deferred()`.
    #[inline]
    pub fn alloc_deferred(&self) -> Result {
        // SAFETY: By the type invariant the folio is charged; it is ours.
        to_result(unsafe { bindings::folio_memcg_alloc_deferred(self.folio().as_raw()) })
    }

    /// Counts an allocation for a collapse in the group's `memory.stat`.
    #[inline]
    pub fn count_collapse_alloc(&self) {
        // SAFETY: By the type invariant the folio is charged; it is ours.
        unsafe {
            bindings::count_memcg_folio_events(
                self.folio().as_raw(),
                bindings::vm_event_item_THP_COLLAPSE_ALLOC,
                1,
            )
        }
    }
}
