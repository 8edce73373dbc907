// SPDX-License-Identifier: GPL-2.0

//! The exclusive part of a collapse of anonymous memory: isolate, copy, install.
//!
//! Locks: a [`Session`] holds the mmap lock for write and has the VMA marked as written.
//! [`Session::freeze`], for a whole table, and [`Session::take`], for some regions of it, take the
//! anon_vma lock for as long as it takes to lock every folio; from then on these keep reverse-map
//! walks out. The page-table locks are held within only.
//! Context: sleeps.
//! Units: PTEs.
//!
//! C: the second half of `collapse_huge_page()`, `__collapse_huge_page_isolate()`,
//! `__collapse_huge_page_copy()`.

#![forbid(unsafe_code)]

use crate::{
    anon::batch::Batch,
    audit::Audit,
    ffi::trace,
    inject::{
        self,
        Step, //
    },
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    }, //
};
use kernel::{
    mm::{
        detached::{
            taken::{
                SavedEntries,
                TakenEntries, //
            },
            Admission,
            FrozenTable, //
        },
        folio::FilledFolio,
        internal::{
            anon_vma::AnonVmaWrite,
            held::FolioRoom,
            lru::Busy, //
        },
        memcg::ChargedFolio,
        mmap_lock::{
            Expect,
            LockedVma,
            PinnedMm,
            Write, //
        },
        page_copy::{
            CopyError,
            FolioFill,
            FrozenPage, //
        },
        pgtable::{
            MappedPage,
            PmdHint,
            PteView, //
        },
        region::{
            PteIndex,
            Region, //
        },
        vma::Vma, //
    }, //
};

/// A VMA that is ours alone, but for reverse-map walks.
pub(super) struct Session<'mm> {
    vma: LockedVma<'mm, Write>,
    policy: Policy,
    /// Where the table was, if it was looked at before.
    hint: Option<PmdHint>,
}

impl<'mm> Session<'mm> {
    /// Takes the mmap lock for write. The VMA has to be as expected, and the PMD where it was, if
    /// that is known.
    pub(super) fn begin(
        mm: PinnedMm<'mm>,
        expect: &Expect,
        policy: Policy,
        hint: Option<PmdHint>,
    ) -> Scan<Self> {
        let vma = mm.lock_vma::<Write>(expect)?;
        Ok(Self { vma, policy, hint })
    }

    /// Takes the table out of the PMD and holds all its folios.
    pub(super) fn freeze<'a, 'h>(
        &'a mut self,
        region: &Region,
        room: &'h mut FolioRoom,
    ) -> Scan<FrozenTable<'a, 'h>> {
        let claimed = self.vma.claim(region.pmd(), self.hint)?;
        let vma = claimed.vma();
        let rmap = AnonVmaWrite::lock(&claimed).ok_or(ScanResult::PageAnon)?;
        let table = claimed
            .detach(&rmap, region.addrs())
            .ok_or(ScanResult::NoPteTable)?;
        Isolation::of(self.policy, region, vma, |isolation| {
            table.isolate(room, isolation)
        })
    }

    /// Takes the entries of each part of a batch that can be had, in one go. `results` are those of
    /// the parts.
    pub(super) fn take<'a, 's>(
        &'a mut self,
        batch: &mut Batch,
        saved: &'s mut SavedEntries,
        room: &'s mut FolioRoom,
    ) -> Scan<TakenEntries<'a, 's>> {
        let (at, addrs) = batch.place().ok_or(ScanResult::Fail)?;
        let claimed = self.vma.claim(at, self.hint)?;
        let vma = claimed.vma();
        let rmap = AnonVmaWrite::lock(&claimed).ok_or(ScanResult::PageAnon)?;
        let mut table = claimed
            .detach(&rmap, addrs)
            .ok_or(ScanResult::NoPteTable)?
            .open(saved, room);
        for part in batch.parts_mut() {
            part.result = Isolation::of(self.policy, &part.region, vma, |isolation| {
                table.take(&part.region, isolation)
            });
        }
        Ok(table.hook_in())
    }
}

/// The rules of the isolation.
struct Isolation {
    policy: Policy,
    audit: Audit,
    /// The folio that was looked at last.
    last_pfn: Option<usize>,
}

impl Isolation {
    /// Isolates the folios of a region by the rules.
    fn of<T>(
        policy: Policy,
        region: &Region,
        vma: &Vma,
        isolate: impl FnOnce(&mut Self) -> Scan<T>,
    ) -> Scan<T> {
        let limits = policy.limits_in(region.order(), vma);
        let mut this = Self {
            policy,
            audit: Audit::new(policy, limits, region.order(), vma),
            last_pfn: None,
        };
        let isolated = isolate(&mut this);
        let Self {
            audit, last_pfn, ..
        } = this;
        trace::collapse_isolate(
            last_pfn,
            audit.none,
            audit.referenced,
            &isolated,
            region.order(),
        );
        isolated
    }
}

impl Admission for Isolation {
    type Refusal = ScanResult;

    #[inline]
    fn admit(&mut self, view: &PteView<'_>) -> Scan {
        match view {
            PteView::None | PteView::ZeroPage => self.audit.none(),
            PteView::Swap { .. } => Err(ScanResult::PteNonPresent),
            PteView::Uffd => Err(ScanResult::PteUffd),
            PteView::NoPage => Err(ScanResult::PageNull),
            PteView::Mapped(page) => {
                self.last_pfn = Some(page.folio().pfn());
                self.audit.mapped(page)?;
                for (step, busy) in [
                    (Step::IsolateLock, Busy::Locked),
                    (Step::IsolatePin, Busy::Referenced),
                    (Step::IsolateLru, Busy::NotOnLru),
                ] {
                    if inject::fails(step) {
                        return Err(busy.into());
                    }
                }
                Ok(())
            }
        }
    }

    #[inline]
    fn busy(&mut self, busy: Busy) -> ScanResult {
        busy.into()
    }

    #[inline]
    fn held(&mut self, vma: &Vma, addr: usize, page: &MappedPage<'_>) {
        self.audit.note_use(vma, addr, page);
    }

    fn complete(&mut self) -> Scan {
        if self.policy.wants_referenced() && self.audit.referenced == 0 {
            return Err(ScanResult::LackReferencedPage);
        }
        Ok(())
    }
}

/// Gives a new folio the content of a region whose pages do not change. Holds no lock that spins,
/// so it may be preempted.
pub(super) fn copy<'t>(
    vma: &Vma,
    region: &Region,
    page: impl Fn(PteIndex) -> Option<FrozenPage<'t>>,
    new: ChargedFolio,
) -> Scan<FilledFolio> {
    let mut fill = FolioFill::new(new, vma, region.start());
    for index in region.indices() {
        let filled = match page(index) {
            None => fill.zero(),
            Some(_) if inject::fails(Step::Copy) => Err(CopyError::Poisoned),
            Some(page) => fill.copy(&page),
        };
        filled?;
    }
    fill.finish().ok_or(ScanResult::Fail)
}
