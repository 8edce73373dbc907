// SPDX-License-Identifier: GPL-2.0

//! Nodes: sets of them, distances, and whether distance matters.
//!
//! Locks: none. A node may come or go at any time; all answers are hints.
//! Context: any.
//! Units: node ids; distances as the firmware gives them (10 is local).
//!
//! C headers: [`include/linux/nodemask.h`](srctree/include/linux/nodemask.h),
//! [`include/linux/topology.h`](srctree/include/linux/topology.h)

use crate::bindings;
use pin_init::Zeroable;

/// The number of nodes that this kernel was built for.
pub const MAX_NUMNODES: usize = bindings::COLLAPSE_MAX_NUMNODES as usize;

/// The number of nodes that may exist on this machine: all ids are below.
#[inline]
pub fn nr_node_ids() -> usize {
    // SAFETY: Written during boot only, or a constant.
    (unsafe { bindings::collapse_nr_node_ids() } as usize).min(MAX_NUMNODES)
}

/// Whether the node has memory or CPUs that are in use.
#[inline]
pub fn is_online(nid: usize) -> bool {
    // SAFETY: Ids below `MAX_NUMNODES` are valid to ask for.
    nid < MAX_NUMNODES && unsafe { bindings::node_state_online(nid as i32) }
}

/// Whether the machine is set up to reclaim on the local node before it goes to others.
///
/// C: `node_reclaim_enabled()`.
#[inline]
pub fn reclaims_locally() -> bool {
    // SAFETY: Reads a global variable.
    unsafe { bindings::khugepaged_node_reclaim_enabled() }
}

/// Whether the way from one node to another is longer than reclaim goes.
#[inline]
pub fn is_far(from: usize, to: usize) -> bool {
    // SAFETY: `node_distance()` takes any ids and checks them; the other is a global variable that
    // is written during boot only.
    unsafe { bindings::node_distance(from as i32, to as i32) > bindings::node_reclaim_distance }
}

/// A set of nodes.
#[derive(Zeroable)]
#[repr(transparent)]
pub struct NodeMask(bindings::nodemask_t);

impl NodeMask {
    /// Makes the set empty.
    #[inline]
    pub fn clear(&mut self) {
        // SAFETY: `self` is a valid mask.
        unsafe { bindings::__nodes_clear(&mut self.0) }
    }

    /// Adds a node. An id that this kernel cannot have is ignored.
    #[inline]
    pub fn set(&mut self, nid: usize) {
        if nid < MAX_NUMNODES {
            // SAFETY: `self` is a valid mask with a bit for `nid`.
            unsafe { bindings::__node_set(nid as i32, &mut self.0) }
        }
    }

    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut bindings::nodemask_t {
        &mut self.0
    }
}
