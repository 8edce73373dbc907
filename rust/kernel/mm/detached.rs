// SPDX-License-Identifier: GPL-2.0

//! PTE tables that were taken out of their PMD, for a huge page to take their place.
//!
//! Nobody may change what a table maps, or write through it, while its pages are copied. So it is
//! taken away from everybody who could (see [`pgtable`](super::pgtable)):
//!
//! - page faults: the VMA is marked as written, which [`ClaimedPmd`] stands for;
//! - reverse-map walks: the anon_vma is locked, which [`AnonVmaWrite`] stands for, until every
//!   folio that the table maps is locked, which [`FrozenTable`] stands for;
//! - the CPU: the PMD is cleared and the TLB flushed;
//! - GUP-fast: it looks at the PMD again after it took a reference, and [`TableSync`] waits for
//!   walks that looked before. So nobody gets a reference by this table after that, and one that
//!   was got earlier shows in the count, which is compared under the folio lock. Others may still
//!   take references, see [`held`](super::internal::held).
//!
//! Dropping a [`DetachedTable`] or [`FrozenTable`] hooks the table in again, then lets go of the
//! folios: the order of the fields is the order of the undoing.
//!
//! That is for a folio that takes the place of the whole table. For lesser ones see [`taken`].
//!
//! Locks: mmap lock for write, VMA mark, anon_vma, then the pmd lock or the ptl, which are only
//! held inside of functions here.
//! Context: [`ClaimedPmd::detach`] sleeps. The rest does not, but may take long.
//! Units: addresses in bytes, entries by [`PteIndex`].
//!
//! C: the second half of `collapse_huge_page()` and the `__collapse_huge_page_*()` it calls.

use crate::{
    bindings,
    mm::{
        folio::FilledFolio,
        internal::{
            anon_vma::AnonVmaWrite,
            held::{
                FolioRoom,
                HeldFolios, //
            },
            lru::Busy, //
        },
        mmap_lock::{
            LockedVma,
            Write, //
        },
        mmu_notifier::InvalidateRange,
        page_copy::FrozenPage,
        pgtable::{
            MappedPage,
            PmdEntry,
            PmdHint,
            PmdView,
            PteTable,
            PteView, //
        },
        region::{
            PmdAddr,
            PteIndex,
            Region, //
        },
        rmap,
        tlb::TableSync,
        vma::Vma, //
    },
    types::NotThreadSafe,
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Range,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

pub mod taken;

/// A PMD that had a table, for us to take away.
///
/// # Invariants
///
/// The VMA of `entry` is marked as written, and its [`LockedVma`] is borrowed exclusively for `'v`:
/// no other value can get at its tables.
#[must_use]
pub struct ClaimedPmd<'v> {
    entry: PmdEntry<'v>,
}

/// Why a PMD cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclaimed {
    /// It has no table.
    NoTable,
    /// It maps a huge page.
    Huge,
    /// It is not where it was.
    Moved,
}

impl LockedVma<'_, Write> {
    /// Keeps everybody but reverse-map walks out of the VMA, and finds the PMD for `at`, which has
    /// to be where `hint` tells, if there is one. Sleeps.
    ///
    /// C: `vma_start_write()`, then `check_pmd_still_valid()`.
    pub fn claim(
        &mut self,
        at: PmdAddr,
        hint: Option<PmdHint>,
    ) -> Result<ClaimedPmd<'_>, Unclaimed> {
        // Faults that hold the VMA lock may still be at work on the PMD: wait for them first.
        self.start_write();
        match (*self).pmd(at) {
            PmdView::NoTable => Err(Unclaimed::NoTable),
            PmdView::Huge => Err(Unclaimed::Huge),
            PmdView::Table(entry) if hint.is_some_and(|hint| hint != entry.hint()) => {
                Err(Unclaimed::Moved)
            }
            // INVARIANT: Just marked, and the lifetime is that of the exclusive borrow.
            PmdView::Table(entry) => Ok(ClaimedPmd { entry }),
        }
    }
}

impl<'v> ClaimedPmd<'v> {
    /// The VMA.
    #[inline]
    pub fn vma(&self) -> &'v Vma {
        self.entry.vma
    }
}

/// Hooks a table into its PMD when it is dropped.
///
/// # Invariants
///
/// The PMD of `entry` is none; `table` is the value it had. The locks that make it stay so (VMA
/// mark; anon_vma, or the locks of all folios that the table maps) are held.
struct HookIn<'v> {
    entry: PmdEntry<'v>,
    table: bindings::pmd_t,
}

impl Drop for HookIn<'_> {
    fn drop(&mut self) {
        let mm = self.entry.vma.mm();
        let pmd = self.entry.pmd.as_ptr();
        // SAFETY: By the type invariant the entry is none and the table still belongs there.
        unsafe {
            let ptl = bindings::pmd_lock(mm, pmd);
            bindings::pmd_populate(mm, pmd, bindings::pmd_pgtable(self.table));
            bindings::spin_unlock(ptl);
        }
    }
}

/// A table out of its PMD, under the lock of its anon_vma.
///
/// # Invariants
///
/// `base` is the first entry of the table of `hook`, and `ptl` its lock. The anon_vma lock is held
/// for `'r`.
#[must_use = "the table is hooked in again when the value is dropped"]
pub struct DetachedTable<'v, 'r> {
    hook: HookIn<'v>,
    base: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    _rmap: PhantomData<&'r AnonVmaWrite<'v>>,
    _nts: NotThreadSafe,
}

impl<'v> ClaimedPmd<'v> {
    /// Takes the table out of the PMD and flushes the TLB, so that nobody can reach it but us.
    ///
    /// `changing` is a range in which all pages lie that may become others. Secondary MMUs need not
    /// hear of the rest: it is back before anybody can miss it.
    ///
    /// [`None`] if there is no table any more, or if the locks are those of another VMA. Sleeps
    /// (notifiers, and the wait for GUP-fast).
    ///
    /// C: the middle of `collapse_huge_page()`, around `pmdp_collapse_flush()`.
    pub fn detach<'r>(
        self,
        rmap: &'r AnonVmaWrite<'v>,
        changing: Range<usize>,
    ) -> Option<DetachedTable<'v, 'r>> {
        let entry = self.entry;
        let vma = entry.vma;
        if !core::ptr::eq(vma, rmap.vma()) || !vma.is_anonymous() {
            return None;
        }
        let _sync = TableSync::owed();
        let _invalidate = InvalidateRange::clear(vma, changing);
        let mut table = self.unhook()?;
        // INVARIANT: The entry is none, and the locks keep it so: no fault sets it, as the VMA is
        // marked as written, and no walk, as the anon_vma is locked.
        let hook = HookIn { entry, table };
        let mut ptl = null_mut();
        // SAFETY: `table` is valid and has a PTE table. Unmapping it at once is fine: it is never
        // in high memory on the architectures that we support, and not freed while it is ours.
        let base = NonNull::new(unsafe {
            bindings::pte_offset_map_ro_nolock(vma.mm(), &mut table, entry.at.get(), &mut ptl)
        })?;
        // SAFETY: Mapped just now.
        unsafe { bindings::pte_unmap(base.as_ptr()) };
        // INVARIANT: `base` and `ptl` were just looked up. `_invalidate` is dropped on return, then
        // `_sync`, before anybody can look at a reference count.
        Some(DetachedTable {
            hook,
            base,
            ptl,
            _rmap: PhantomData,
            _nts: NotThreadSafe,
        })
    }

    /// Clears the entry and flushes the TLB, if it has a table. Returns what it was.
    fn unhook(&self) -> Option<bindings::pmd_t> {
        let PmdEntry { pmd, vma, at } = self.entry;
        let pmd = pmd.as_ptr();
        // SAFETY: By the invariant of `PmdEntry` it is valid. What it holds is looked at under its
        // lock: whoever changes it between a table and something else takes that.
        unsafe {
            let ptl = bindings::pmd_lock(vma.mm(), pmd);
            let old = bindings::pmdp_get_lockless(pmd);
            let table = (bindings::pmd_present(old)
                && !bindings::pmd_trans_huge(old)
                && !bindings::pmd_bad(old))
            .then(|| bindings::pmdp_collapse_flush(vma.as_ptr(), at.get(), pmd));
            bindings::spin_unlock(ptl);
            table
        }
    }
}

/// Says which entries may be part of a huge page, and learns what became of them.
pub trait Admission {
    /// Why not.
    type Refusal;

    /// Looks at an entry before anything is done to it.
    fn admit(&mut self, view: &PteView<'_>) -> Result<(), Self::Refusal>;

    /// The folio of an admitted entry could not be held.
    fn busy(&mut self, busy: Busy) -> Self::Refusal;

    /// The folio of an admitted entry is held.
    fn held(&mut self, vma: &Vma, addr: usize, page: &MappedPage<'_>);

    /// That was the last entry: has the last word.
    fn complete(&mut self) -> Result<(), Self::Refusal>;
}

impl<'v> DetachedTable<'v, '_> {
    /// Locks the table, to look at it in the way of an attached one.
    #[inline]
    fn lock_ptes(&self) -> PteTable<'_> {
        // SAFETY: By the type invariant `ptl` is the lock of the table. The RCU section is what
        // `PteTable` ends when it is dropped.
        unsafe {
            bindings::rcu_read_lock();
            bindings::spin_lock(self.ptl);
        }
        // INVARIANT: Just locked.
        PteTable {
            base: self.base,
            ptl: self.ptl,
            vma: self.hook.entry.vma,
            at: self.hook.entry.at,
            _nts: NotThreadSafe,
        }
    }

    /// Holds every folio that the table maps, which makes the anon_vma lock dispensable.
    ///
    /// The first refusal ends it, and undoes everything. An entry that is neither empty nor a page
    /// and yet admitted is left to [`Admission::busy`].
    pub fn isolate<'h, A: Admission>(
        self,
        room: &'h mut FolioRoom,
        admission: &mut A,
    ) -> Result<FrozenTable<'v, 'h>, A::Refusal> {
        let mut folios = HeldFolios::new(room);
        let whole = Region::whole_table(self.hook.entry.at);
        let ptes = self.lock_ptes();
        let isolated = isolate(&ptes, &whole, &mut folios, admission);
        drop(ptes);
        if let Err(refusal) = isolated {
            // The table is hooked in before the folios go.
            drop(self);
            return Err(refusal);
        }
        folios.settle();
        // INVARIANT: Every entry was none, the zero page, or a page of a folio in `folios` just
        // now, and nobody else can change it. Who walks the reverse map waits for a folio lock.
        Ok(FrozenTable {
            hook: self.hook,
            folios,
            base: self.base,
            ptl: self.ptl,
            _nts: NotThreadSafe,
        })
    }
}

/// Holds every folio that a region maps and that is not among `folios` yet. The first refusal
/// ends it; what is held so far stays so.
#[inline]
fn isolate<A: Admission>(
    ptes: &PteTable<'_>,
    region: &Region,
    folios: &mut HeldFolios<'_>,
    admission: &mut A,
) -> Result<(), A::Refusal> {
    let vma = ptes.vma();
    for index in region.indices() {
        let view = ptes.view(index);
        admission.admit(&view)?;
        match &view {
            PteView::None | PteView::ZeroPage => {}
            PteView::Mapped(page) => {
                folios
                    .hold(page.folio())
                    .map_err(|busy| admission.busy(busy))?;
                admission.held(vma, region.addr_of(index), page);
            }
            _ => return Err(admission.busy(Busy::NotOnLru)),
        }
    }
    admission.complete()
}

/// A table out of its PMD all of whose folios are held: neither its entries nor the content of
/// its pages change.
///
/// # Invariants
///
/// `base` is the first entry of the table of `hook`, and `ptl` its lock. Each entry is none, or
/// maps the zero page or a page of a member of `folios`.
#[must_use = "the table is hooked in again when the value is dropped"]
pub struct FrozenTable<'v, 'h> {
    // The order of the fields is the order of the undoing.
    hook: HookIn<'v>,
    folios: HeldFolios<'h>,
    base: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    _nts: NotThreadSafe,
}

impl<'v> FrozenTable<'v, '_> {
    /// The VMA that the table maps.
    #[inline]
    pub fn vma(&self) -> &'v Vma {
        self.hook.entry.vma
    }

    #[inline]
    fn entry(&self, index: PteIndex) -> *mut bindings::pte_t {
        // SAFETY: By the invariants of `PteIndex` and `FrozenTable` the entry is in the table.
        unsafe { self.base.as_ptr().add(index.get()) }
    }

    /// The page that an entry maps; [`None`] if its content is zeroes. Needs no lock: nobody else
    /// can reach the table.
    #[inline]
    pub fn page(&self, index: PteIndex) -> Option<FrozenPage<'_>> {
        // SAFETY: The entry is valid. If it is present and not the zero page it holds a reference
        // to a page.
        let page = unsafe {
            let pte = bindings::ptep_get(self.entry(index));
            if bindings::pte_none(pte) || bindings::is_zero_pfn(bindings::pte_pfn(pte)) {
                return None;
            }
            bindings::pte_page(pte)
        };
        // SAFETY: The entry keeps the page, and nobody writes to it: it had no references but those
        // of page tables, and the folio is held.
        NonNull::new(page).map(|page| unsafe { FrozenPage::new(page) })
    }

    /// Lets a folio that has the content of all pages take the place of the table, which is
    /// emptied and deposited for a later split. The folios are released. This is the commit; it
    /// cannot fail, and it does not sleep.
    ///
    /// A folio of another order comes back, with everything undone.
    pub fn replace(mut self, folio: FilledFolio) -> Result<(), FilledFolio> {
        if !folio.order().is_pmd() {
            return Err(folio);
        }
        self.clear();
        let hook = ManuallyDrop::new(self.hook);
        let PmdEntry { pmd, vma, at } = hook.entry;
        let mm = vma.mm();
        // SAFETY: By the invariant of `HookIn` the entry is none and the table ours to give away;
        // it is empty now. The folio is new, charged and up to date.
        unsafe {
            let ptl = bindings::pmd_lock(mm, pmd.as_ptr());
            let table = bindings::pmd_pgtable(hook.table);
            bindings::pgtable_trans_huge_deposit(mm, pmd.as_ptr(), table);
            rmap::map_new_pmd(folio.into_raw(), pmd.as_ptr(), vma, at);
            bindings::spin_unlock(ptl);
        }
        self.folios.release_unmapped();
        Ok(())
    }

    /// Clears all entries and forgets the mappings. One hold of the lock serves the whole table:
    /// nobody waits for it, and the rmap functions want preemption off.
    fn clear(&self) {
        let vma = self.vma();
        let mm = vma.mm();
        let whole = Region::whole_table(self.hook.entry.at);
        let mut filled: isize = 0;
        let mut done = 0;
        // SAFETY: By the type invariant `ptl` is the lock of the table; unlocked below.
        unsafe { bindings::spin_lock(self.ptl) };
        for index in whole.indices() {
            if index.get() < done {
                continue;
            }
            let ptep = self.entry(index);
            let addr = whole.addr_of(index);
            // SAFETY: The entry is valid and locked. By the type invariant the folio of a page is
            // held, so dropping the references of the mappings does not free it.
            unsafe {
                let pte = bindings::ptep_get(ptep);
                if bindings::pte_none(pte) {
                    filled = filled.wrapping_add(1);
                } else if bindings::is_zero_pfn(bindings::pte_pfn(pte)) {
                    filled = filled.wrapping_add(1);
                    bindings::ptep_clear(mm, addr, ptep);
                    bindings::ksm_might_unmap_zero_page(mm, pte);
                } else {
                    let page = bindings::pte_page(pte);
                    let folio = bindings::page_folio(page);
                    let nr = if bindings::folio_test_large(folio) {
                        let room = whole.nr_pages().saturating_sub(index.get());
                        bindings::folio_pte_batch(folio, ptep, pte, room as u32)
                    } else {
                        1
                    };
                    bindings::clear_ptes(mm, addr, ptep, nr);
                    rmap::unmap_pages(folio, page, nr, vma);
                    done = index.get().saturating_add(nr as usize);
                }
            }
        }
        // SAFETY: Locked above.
        unsafe { bindings::spin_unlock(self.ptl) };
        if filled != 0 {
            // SAFETY: The mm is valid.
            unsafe { bindings::add_mm_counter(mm, bindings::MM_ANONPAGES as i32, filled) };
        }
    }
}
