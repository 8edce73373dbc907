// SPDX-License-Identifier: GPL-2.0

//! What one caller carries from PMD to PMD: its policy, its progress, and on which nodes the pages
//! of the present table are.
//!
//! Locks: none; owned by one task.
//! Context: the node counts take 4 KiB where a kernel supports 1024 nodes, so a context lives on
//! the heap and is made there.
//! Units: progress in what `pages_to_scan` counts: PTEs, and PMDs or VMAs that were passed over.
//!
//! C: `struct collapse_control`, `collapse_find_target_node()`, `collapse_scan_abort()`.

#![forbid(unsafe_code)]

use crate::{
    anon::batch::Batch,
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    },
    survey::Survey, //
};
use kernel::{
    mm::{
        detached::taken::SavedEntries,
        internal::held::FolioRoom,
        numa::{
            self,
            NodeMask,
            MAX_NUMNODES, //
        }, //
    },
    prelude::*, //
};

/// The state of one caller.
pub(crate) struct CollapseContext {
    /// Whose rules apply.
    pub(crate) policy: Policy,
    /// How much was looked at.
    pub(crate) progress: u32,
    /// What regions below the PMD order need, which are for khugepaged only.
    pub(crate) regions: Option<KVBox<RegionWork>>,
    /// Where the folios of a table are written down while it is collapsed.
    pub(crate) room: FolioRoom,
    /// The pages of the present table, by node.
    load: NodeLoad,
    /// Whether the distance of nodes matters.
    distance_matters: bool,
    /// The nodes that an allocation may fall back to.
    fallback: NodeMask,
}

impl CollapseContext {
    /// Makes a context on the heap, in place.
    pub(crate) fn new(policy: Policy) -> Result<KBox<Self>> {
        KBox::init(
            pin_init::init!(Self {
                policy,
                progress: 0,
                regions: match policy {
                    Policy::Khugepaged => Some(KVBox::init(RegionWork::new(), GFP_KERNEL)?),
                    Policy::MadvCollapse => None,
                },
                room: FolioRoom::new()?,
                load <- NodeLoad::new(),
                distance_matters: false,
                fallback <- pin_init::init_zeroed(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Forgets the table before.
    pub(crate) fn start_table(&mut self) {
        self.load.clear();
        self.distance_matters = numa::reclaims_locally();
        self.fallback.clear();
    }

    /// Counts progress.
    #[inline]
    pub(crate) fn advance(&mut self, by: u32) {
        self.progress = self.progress.wrapping_add(by);
    }

    #[inline(never)]
    fn is_far_from_others(&self, nid: usize) -> bool {
        self.load.is_too_far(nid, numa::is_far)
    }

    /// Counts a page, unless its node is too far from those of the pages before it.
    #[inline]
    pub(crate) fn add_page_on(&mut self, nid: usize) -> Scan {
        if self.distance_matters && self.is_far_from_others(nid) {
            return Err(ScanResult::ScanAbort);
        }
        self.load.add(nid);
        Ok(())
    }

    /// The node to allocate on, and those that would do as well.
    pub(crate) fn target(&mut self) -> (usize, &mut NodeMask) {
        let (nid, most) = self.load.busiest();
        for other in 0..numa::nr_node_ids() {
            if self.load.of(other) == most && numa::is_online(other) {
                self.fallback.set(other);
            }
        }
        (nid, &mut self.fallback)
    }
}

/// The state of a table whose regions are looked at one by one.
pub(crate) struct RegionWork {
    /// What the scan saw.
    pub(crate) survey: Survey,
    /// What is to be collapsed.
    pub(crate) batch: Batch,
    /// Room for entries while their pages are copied.
    pub(crate) saved: SavedEntries,
}

impl RegionWork {
    fn new() -> impl Init<Self, Error> {
        pin_init::init!(Self {
            survey <- Survey::new(),
            batch: Batch::new(),
            saved <- pin_init::init_zeroed(),
        }? Error)
    }
}

/// How many pages are on each node.
#[derive(Zeroable)]
pub(crate) struct NodeLoad([u32; MAX_NUMNODES]);

impl NodeLoad {
    /// No page anywhere.
    pub(crate) fn new() -> impl Init<Self, core::convert::Infallible> {
        pin_init::init_zeroed()
    }

    /// Only nodes that can exist are ever counted.
    fn nodes(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.0.iter().copied().enumerate().take(numa::nr_node_ids())
    }

    pub(crate) fn clear(&mut self) {
        self.0
            .iter_mut()
            .take(numa::nr_node_ids())
            .for_each(|n| *n = 0);
    }

    #[inline]
    pub(crate) fn add(&mut self, nid: usize) {
        if let Some(load) = self.0.get_mut(nid) {
            *load = load.wrapping_add(1);
        }
    }

    #[inline]
    pub(crate) fn of(&self, nid: usize) -> u32 {
        self.0.get(nid).copied().unwrap_or(0)
    }

    /// Whether `nid` has no page yet, and is far from a node that has.
    pub(crate) fn is_too_far(&self, nid: usize, far: impl Fn(usize, usize) -> bool) -> bool {
        self.of(nid) == 0
            && self
                .nodes()
                .any(|(other, load)| load != 0 && far(nid, other))
    }

    /// The first node with the most pages, and how many they are; node 0 if there are none.
    pub(crate) fn busiest(&self) -> (usize, u32) {
        self.nodes().fold(
            (0, 0),
            |best, (nid, load)| if load > best.1 { (nid, load) } else { best },
        )
    }
}
