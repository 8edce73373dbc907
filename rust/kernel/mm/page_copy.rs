// SPDX-License-Identifier: GPL-2.0

//! Filling a new folio from pages that may be poisoned, and with zeroes.
//!
//! Locks: none needed beyond what keeps the source; the callers hold none that spins.
//! Context: any; long, so better preemptible.
//! Units: pages.
//!
//! C header: [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use crate::{
    bindings,
    mm::{
        folio::FilledFolio,
        memcg::ChargedFolio,
        vma::Vma, //
    },
    page::PAGE_SIZE, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A page whose content does not change, as nobody else can reach it to write.
///
/// # Invariants
///
/// The page is not freed, and nobody writes to it, during `'t`.
pub struct FrozenPage<'t>(NonNull<bindings::page>, PhantomData<&'t ()>);

impl FrozenPage<'_> {
    /// Wraps a page.
    ///
    /// # Safety
    ///
    /// The invariant must hold for as long as the value lives.
    #[inline]
    pub(super) unsafe fn new(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(page, PhantomData)
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::page {
        self.0.as_ptr()
    }
}

/// Why a page was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Reading it raised a machine check; it was reported as poisoned.
    Poisoned,
    /// The folio has its content already.
    Full,
}

/// How many pages are cleared in one go.
const CLEAR_BATCH: usize = 32;

/// A folio that is given its content, page by page. Pages to be cleared are put off until there
/// are many of them, or something else follows.
///
/// # Invariants
///
/// The first `done` pages were written; `done` plus `holes` is at most the number of pages.
#[must_use = "the folio is freed when it is unused"]
pub struct FolioFill<'v> {
    folio: ChargedFolio,
    /// Where user space will see the folio, in bytes, if that is known.
    seen: Option<(&'v Vma, usize)>,
    done: usize,
    holes: usize,
}

impl<'v> FolioFill<'v> {
    /// Starts with the first page of a folio that will be seen at address `start` of `vma`.
    #[inline]
    pub fn new(folio: ChargedFolio, vma: &'v Vma, start: usize) -> Self {
        // INVARIANT: Nothing was written yet.
        Self {
            folio,
            seen: Some((vma, start)),
            done: 0,
            holes: 0,
        }
    }

    /// Starts with the first page of a folio for the page cache, which may be seen anywhere.
    #[inline]
    pub fn for_cache(folio: ChargedFolio) -> Self {
        // INVARIANT: Nothing was written yet.
        Self {
            folio,
            seen: None,
            done: 0,
            holes: 0,
        }
    }

    /// The page that is next to be written; [`None`] if there is none left.
    #[inline]
    fn next(&self) -> Option<*mut bindings::page> {
        if self.done >= self.folio.order().nr_pages() {
            return None;
        }
        // SAFETY: The folio is ours and has more than `done` pages.
        Some(unsafe { bindings::folio_page(self.folio.folio().as_raw(), self.done) })
    }

    /// The address of that page, in a mapping that starts at `start`.
    #[inline]
    fn addr(&self, start: usize) -> usize {
        start.wrapping_add(self.done.wrapping_mul(PAGE_SIZE))
    }

    /// The next page is a copy of `from`.
    ///
    /// C: `copy_mc_user_highpage()`, `copy_mc_highpage()`.
    #[inline]
    pub fn copy(&mut self, from: &FrozenPage<'_>) -> Result<(), CopyError> {
        self.clear_holes();
        let to = self.next().ok_or(CopyError::Full)?;
        let from = from.as_raw();
        // SAFETY: `to` is ours; by the invariant of `FrozenPage` nobody writes to `from`.
        let left = unsafe {
            match self.seen {
                Some((vma, start)) => {
                    bindings::copy_mc_user_highpage(to, from, self.addr(start), vma.as_ptr())
                }
                None => bindings::copy_mc_highpage(to, from),
            }
        };
        if left > 0 {
            return Err(CopyError::Poisoned);
        }
        // INVARIANT: Written just now.
        self.done = self.done.wrapping_add(1);
        Ok(())
    }

    /// The next page is all zeroes.
    #[inline]
    pub fn zero(&mut self) -> Result<(), CopyError> {
        if self.holes >= CLEAR_BATCH {
            self.clear_holes();
        }
        let next = self.done.wrapping_add(self.holes);
        if next >= self.folio.order().nr_pages() {
            return Err(CopyError::Full);
        }
        // INVARIANT: Just tested.
        self.holes = self.holes.wrapping_add(1);
        Ok(())
    }

    /// Clears what was put off.
    ///
    /// C: `clear_user_highpages()`, `clear_highpage()`.
    #[inline]
    fn clear_holes(&mut self) {
        let nr = core::mem::take(&mut self.holes);
        if nr == 0 {
            return;
        }
        if let Some(to) = self.next() {
            let folio = self.folio.folio().as_raw();
            // SAFETY: By the type invariant `nr` pages from the page `done` on are ours.
            unsafe {
                match self.seen {
                    Some((_, start)) => {
                        bindings::clear_user_highpages(to, self.addr(start), nr as u32)
                    }
                    None => (self.done..self.done.wrapping_add(nr))
                        .for_each(|n| bindings::clear_highpage(bindings::folio_page(folio, n))),
                }
            };
            // INVARIANT: Written just now.
            self.done = self.done.wrapping_add(nr);
        }
    }

    /// Ends the filling. [`None`], and the folio is freed, if a page was left out.
    #[inline]
    pub fn finish(mut self) -> Option<FilledFolio> {
        self.clear_holes();
        if self.done != self.folio.order().nr_pages() {
            return None;
        }
        // SAFETY: By the type invariant every page was written.
        Some(unsafe { FilledFolio::new(self.folio) })
    }
}
