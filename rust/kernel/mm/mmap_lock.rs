// SPDX-License-Identifier: GPL-2.0

//! The mmap lock, taken by who may hold no more than a reference to the `mm_struct`.
//!
//! [`MmWithUser`](crate::mm::MmWithUser) needs `mm_users`, which khugepaged does not have: it holds
//! `mm_count` and relies on exit waiting for it. [`PinnedMm`] stands for either, and every lock
//! taken through it tests `mm_users` under the lock before a VMA or a page table can be reached.
//!
//! Locks: `mmap_lock`, for read or for write, which is outermost but for the notifier and
//! page-table locks of other modules that nest in it.
//! Context: may sleep, except [`PinnedMm::try_mmap_read`].
//! Units: addresses in bytes.
//!
//! C header: [`include/linux/mmap_lock.h`](srctree/include/linux/mmap_lock.h)

use crate::{
    bindings,
    mm::{
        region::{
            Orders,
            PmdAddr, //
        },
        vma::{
            TvaType,
            Vma, //
        },
        Mm, //
    },
    types::NotThreadSafe,
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

mod caller;

pub use self::caller::{
    with_held_mmap,
    CallerMmap, //
};

mod sealed {
    pub trait Sealed {}
}

/// How the mmap lock is held: [`Read`] or [`Write`].
pub trait Mode: sealed::Sealed {
    /// Locks.
    ///
    /// # Safety
    ///
    /// `mm` must be valid.
    unsafe fn lock(mm: *mut bindings::mm_struct);

    /// Unlocks.
    ///
    /// # Safety
    ///
    /// The current task must hold the mmap lock of `mm` in this mode, and gives it up.
    unsafe fn unlock(mm: *mut bindings::mm_struct);
}

/// The mmap lock is held for read.
pub struct Read;
/// The mmap lock is held for write.
pub struct Write;

impl sealed::Sealed for Read {}
impl sealed::Sealed for Write {}

impl Mode for Read {
    #[inline]
    unsafe fn lock(mm: *mut bindings::mm_struct) {
        // SAFETY: The caller passes a valid mm.
        unsafe { bindings::mmap_read_lock(mm) }
    }

    #[inline]
    unsafe fn unlock(mm: *mut bindings::mm_struct) {
        // SAFETY: The caller holds the lock for read.
        unsafe { bindings::mmap_read_unlock(mm) }
    }
}

impl Mode for Write {
    #[inline]
    unsafe fn lock(mm: *mut bindings::mm_struct) {
        // SAFETY: The caller passes a valid mm.
        unsafe { bindings::mmap_write_lock(mm) }
    }

    #[inline]
    unsafe fn unlock(mm: *mut bindings::mm_struct) {
        // SAFETY: The caller holds the lock for write.
        unsafe { bindings::mmap_write_unlock(mm) }
    }
}

/// An mm whose page tables stay for as long as its mmap lock is held after `mm_users` was seen to
/// be above zero under it.
///
/// # Invariants
///
/// For `'a`, the `mm_struct` is not freed, and either `mm_users` is above zero or the last user's
/// exit takes the mmap lock for write once, after `mm_users` became zero and before it tears down
/// the first page table.
#[derive(Clone, Copy)]
pub struct PinnedMm<'a>(&'a Mm);

/// Why [`PinnedMm::try_mmap_read`] gave no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Somebody else has the lock.
    Contended,
    /// [`PinnedMm::is_leaving`].
    Leaving,
}

impl<'a> PinnedMm<'a> {
    /// Wraps an mm.
    ///
    /// # Safety
    ///
    /// The invariant of the type must hold for `'a`.
    #[inline]
    pub unsafe fn new(mm: &'a Mm) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(mm)
    }

    /// The mm itself.
    #[inline]
    pub fn mm(self) -> &'a Mm {
        self.0
    }

    /// Whether nothing is to be collapsed here any more: the last user has gone, or the process
    /// has disabled huge pages completely.
    ///
    /// C: `collapse_test_exit_or_disable()`.
    #[inline]
    pub fn is_leaving(self) -> bool {
        self.has_exited() || {
            // SAFETY: By the type invariant the mm is valid.
            unsafe {
                bindings::mm_flags_test(
                    bindings::MMF_DISABLE_THP_COMPLETELY as i32,
                    self.0.as_raw(),
                )
            }
        }
    }

    /// Whether the last user has gone.
    ///
    /// C: `collapse_test_exit()`.
    #[inline]
    pub fn has_exited(self) -> bool {
        // SAFETY: By the type invariant the mm is valid.
        unsafe { bindings::mm_users_read(self.0.as_raw()) == 0 }
    }

    /// Takes the mmap lock. Gives it back at once, and [`None`], if the mm [is
    /// leaving](Self::is_leaving).
    #[inline]
    fn lock<M: Mode>(self) -> Option<MmapGuard<'a, M>> {
        // SAFETY: By the type invariant the mm is valid.
        unsafe { M::lock(self.0.as_raw()) };
        self.locked()
    }

    /// Makes the guard for a lock that was just taken.
    #[inline]
    fn locked<M: Mode>(self) -> Option<MmapGuard<'a, M>> {
        let guard = MmapGuard {
            mm: self,
            _mode: PhantomData,
            _nts: NotThreadSafe,
        };
        // INVARIANT: The lock was taken by the caller, and the test runs under it. The guard's
        // destructor unlocks if the test fails.
        (!self.is_leaving()).then_some(guard)
    }

    /// Takes the mmap lock for read if nobody is in the way. Does not sleep.
    #[inline]
    pub fn try_mmap_read(self) -> Result<MmapGuard<'a, Read>, Unavailable> {
        // SAFETY: By the type invariant the mm is valid.
        if !unsafe { bindings::mmap_read_trylock(self.0.as_raw()) } {
            return Err(Unavailable::Contended);
        }
        self.locked().ok_or(Unavailable::Leaving)
    }

    /// Takes the mmap lock for read. [`None`] if the mm [is leaving](Self::is_leaving). Sleeps.
    #[inline]
    pub fn mmap_read(self) -> Option<MmapGuard<'a, Read>> {
        self.lock()
    }

    /// Takes the lock and looks up the VMA that `expect` describes. Sleeps.
    ///
    /// C: `mmap_read_lock()` or `mmap_write_lock()`, then `hugepage_vma_revalidate()`.
    #[inline]
    pub fn lock_vma<M: Mode>(self, expect: &Expect) -> Result<LockedVma<'a, M>, Unfit> {
        self.lock::<M>().ok_or(Unfit::Leaving)?.revalidate(expect)
    }
}

/// The mmap lock of a living mm.
///
/// # Invariants
///
/// The current task holds the mmap lock in mode `M`, and `mm_users` was above zero under it: the
/// VMAs and page tables of the mm stay until the guard is dropped.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct MmapGuard<'a, M: Mode> {
    mm: PinnedMm<'a>,
    _mode: PhantomData<M>,
    _nts: NotThreadSafe,
}

impl<M: Mode> Drop for MmapGuard<'_, M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the current task holds the lock in mode `M`.
        unsafe { M::unlock(self.mm.0.as_raw()) }
    }
}

/// What a VMA has to be for a collapse to go on in it after the mmap lock was dropped.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The PMD range, all of which has to lie in the VMA.
    pub at: PmdAddr,
    /// The orders that have to be allowed, all of them.
    pub orders: Orders,
    /// On whose behalf.
    pub tva: TvaType,
    /// Whether it has to be anonymous memory that was faulted in before.
    pub anon: bool,
}

/// Why there is no VMA as [`Expect`]ed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// [`PinnedMm::is_leaving`].
    Leaving,
    /// No VMA at or above the address.
    NoVma,
    /// The VMA does not span the PMD range.
    Range,
    /// The order is not allowed.
    NotAllowed,
    /// The memory is not anonymous, or never had a page.
    NotAnon,
}

impl<'a, M: Mode> MmapGuard<'a, M> {
    /// The mm.
    #[inline]
    pub fn pinned_mm(&self) -> PinnedMm<'a> {
        self.mm
    }

    /// The first VMA that ends above `addr`; the guard comes back if there is none.
    ///
    /// C: `find_vma()`.
    #[inline]
    pub fn vma_from(self, addr: usize) -> Result<LockedVma<'a, M>, Self> {
        // SAFETY: By the type invariant the mmap lock is held.
        let vma = unsafe { bindings::find_vma(self.mm.0.as_raw(), addr) };
        match NonNull::new(vma) {
            // INVARIANT: The VMA belongs to the mm that the guard has locked.
            Some(vma) => Ok(LockedVma { vma, guard: self }),
            None => Err(self),
        }
    }

    /// The VMA that `expect` describes.
    fn revalidate(self, expect: &Expect) -> Result<LockedVma<'a, M>, Unfit> {
        let vma = match self.vma_from(expect.at.get()) {
            Ok(vma) => vma,
            Err(_guard) => return Err(Unfit::NoVma),
        };
        // The whole PMD range has to be ours, whatever the order: a table that another VMA shares
        // would need that VMA's locks too.
        if !vma.spans(expect.at) {
            return Err(Unfit::Range);
        }
        if !vma
            .allowable_orders(vma.flags(), expect.tva, expect.orders)
            .contains_all(expect.orders)
        {
            return Err(Unfit::NotAllowed);
        }
        if expect.anon && !(vma.is_anonymous() && vma.has_anon_vma()) {
            return Err(Unfit::NotAnon);
        }
        Ok(vma)
    }
}

/// A VMA together with the mmap lock that keeps it valid.
///
/// Whatever was looked up in the VMA borrows this value, so nothing of it can be used after the
/// lock was dropped.
///
/// # Invariants
///
/// `vma` belongs to the mm that `guard` has locked.
#[must_use = "the lock unlocks immediately when the VMA is unused"]
pub struct LockedVma<'a, M: Mode> {
    vma: NonNull<bindings::vm_area_struct>,
    guard: MmapGuard<'a, M>,
}

impl<M: Mode> Deref for LockedVma<'_, M> {
    type Target = Vma;

    #[inline]
    fn deref(&self) -> &Vma {
        // SAFETY: By the type invariant the VMA belongs to an mm whose mmap lock is held for as
        // long as `self` is borrowed.
        unsafe { Vma::from_raw(self.vma.as_ptr()) }
    }
}

impl<'a, M: Mode> LockedVma<'a, M> {
    /// The mm.
    #[inline]
    pub fn pinned_mm(&self) -> PinnedMm<'a> {
        self.guard.mm
    }

    /// The VMA above this one; the guard comes back if this is the last.
    #[inline]
    pub fn next(self) -> Result<Self, MmapGuard<'a, M>> {
        let end = self.end();
        self.guard.vma_from(end)
    }

    /// Drops the lock. Every borrow of the VMA ends here.
    #[inline]
    pub fn unlock(self) -> PinnedMm<'a> {
        self.guard.mm
    }

    /// Leaves the lock held, for somebody else to drop.
    #[inline]
    fn leak(self) -> NonNull<bindings::vm_area_struct> {
        core::mem::forget(self.guard);
        self.vma
    }
}

impl<'a> LockedVma<'a, Read> {
    /// Runs `f` with the lock held, which `f` drops if it returns `Err`.
    ///
    /// This is for the functions of C that drop the mmap lock on some of their ways out.
    ///
    /// # Safety
    ///
    /// When `f` returns `Err`, it has dropped the mmap read lock that it was called with.
    #[inline]
    pub(crate) unsafe fn may_unlock<T, E>(
        self,
        f: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        match f(&self) {
            Ok(value) => Ok((self, value)),
            Err(error) => {
                self.leak();
                Err(error)
            }
        }
    }
}

impl LockedVma<'_, Write> {
    /// Waits for the readers under the per-VMA lock and keeps new ones out until the mmap lock is
    /// dropped. Sleeps.
    #[inline]
    pub(super) fn start_write(&self) {
        // SAFETY: By the type invariants the mmap lock is held for write.
        unsafe { bindings::vma_start_write(self.as_ptr()) };
    }
}
