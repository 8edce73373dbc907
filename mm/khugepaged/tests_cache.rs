// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what is made of parts of the page cache: [`file::regions`](crate::file::regions).

#![forbid(unsafe_code)]

use kernel::prelude::*;

#[kunit_tests(rust_khugepaged_cache)]
mod tests {
    use super::*;
    use crate::{
        file::regions::{
            after,
            Noted, //
        },
        policy::{
            Limits,
            Policy, //
        },
        result::ScanResult,
        survey::{
            Seen,
            SeenPage,
            Survey, //
        },
        walk::{
            walk_with,
            Verdict,
            Worth, //
        }, //
    };
    use kernel::mm::region::{
        Order,
        Orders,
        PmdAddr,
        PteIndex,
        Region,
        HPAGE_PMD_NR,
        HPAGE_PMD_SIZE, //
    };

    /// A window that does not begin at a multiple of its size, as that of a mapping may not.
    const FIRST: usize = 3 * HPAGE_PMD_NR + 16;

    fn page(order: u8) -> Seen {
        Seen::Page(SeenPage {
            order,
            shared: false,
            used: true,
            busy: None,
        })
    }

    fn noted<'s>(survey: &'s mut Survey, folios: &[(usize, usize, Seen)]) -> &'s Survey {
        survey.start();
        let end = FIRST + HPAGE_PMD_NR;
        let mut noted = Noted::new(survey, FIRST..end);
        for (start, nr, seen) in folios {
            noted.pages(*start, *nr, *seen);
        }
        noted.finish();
        survey
    }

    fn four(survey: &Survey, first: usize) -> Option<Worth> {
        let order = Order::new(2)?;
        let at = PmdAddr::align_down(HPAGE_PMD_SIZE);
        let region = Region::new(at, PteIndex::new(first)?, order)?;
        let limits = Policy::Khugepaged.limits_for(order, 0, 0, 0);
        Some(survey.judge(&region, &limits, Policy::Khugepaged))
    }

    /// All ways in which eight pages can be there, or not, and neighbours be of one folio, or not.
    #[test]
    fn every_pattern_of_eight_pages() {
        let Ok(mut survey) = KVBox::init(Survey::new(), GFP_KERNEL) else {
            return;
        };
        for at in [0, 8, HPAGE_PMD_NR - 8] {
            for there in 0..256usize {
                for joined in 0..16usize {
                    let mut folios = KVec::new();
                    for pair in 0..4 {
                        let bits = (there >> (2 * pair)) & 3;
                        let start = FIRST + at + 2 * pair;
                        let one = match bits {
                            3 if joined >> pair & 1 == 1 => [Some((start, 2, page(1))), None],
                            bits => [
                                (bits & 1 != 0).then_some((start, 1, page(0))),
                                (bits & 2 != 0).then_some((start + 1, 1, page(0))),
                            ],
                        };
                        for folio in one.into_iter().flatten() {
                            let _ = folios.push(folio, GFP_KERNEL);
                        }
                    }
                    let survey = noted(&mut survey, &folios);
                    for half in 0..2 {
                        let want = match (there >> (4 * half)) & 15 {
                            15 => Worth::Try,
                            _ => Worth::TooEmpty,
                        };
                        assert_eq!(four(survey, at + 4 * half), Some(want));
                    }
                }
            }
        }
    }

    /// What begins before the window or ends behind it counts as far as it is inside.
    #[test]
    fn folios_across_the_ends() {
        let Ok(mut survey) = KVBox::init(Survey::new(), GFP_KERNEL) else {
            return;
        };
        let last = HPAGE_PMD_NR - 4;
        let folios = [
            (FIRST - 6, 8, page(3)),
            (FIRST + 2, 2, page(1)),
            (FIRST + last, 16, page(4)),
        ];
        let survey = noted(&mut survey, &folios);
        let large = Some(Worth::Refused(ScanResult::PteMappedHugepage));
        assert_eq!(four(survey, 0), large);
        assert_eq!(four(survey, 4), Some(Worth::TooEmpty));
        assert_eq!(four(survey, last), large);
    }

    /// The page cache may change under a walk: what comes twice, or late, is not noted twice.
    #[test]
    fn folios_that_come_again() {
        let Ok(mut survey) = KVBox::init(Survey::new(), GFP_KERNEL) else {
            return;
        };
        let folios = [
            (FIRST, 4, page(0)),
            (FIRST, 8, Seen::Swapped),
            (FIRST + 2, 2, page(0)),
            (FIRST + 8, 4, page(0)),
        ];
        let survey = noted(&mut survey, &folios);
        assert_eq!(four(survey, 0), Some(Worth::Try));
        assert_eq!(four(survey, 4), Some(Worth::TooEmpty));
        assert_eq!(four(survey, 8), Some(Worth::Try));
    }

    /// Whatever goes wrong with a region, all the others are tried.
    #[test]
    fn a_failure_is_that_of_its_region() {
        let at = PmdAddr::align_down(HPAGE_PMD_SIZE);
        let Some(order) = Order::new(2) else {
            return;
        };
        let orders = Orders::only(order).with(Order::new(3).unwrap_or(order));
        for failure in ScanResult::ALL {
            let (mut large, mut small) = (0, 0);
            let walked = walk_with(
                at,
                orders,
                |_| Worth::Try,
                |region| {
                    if region.order() == order {
                        small += 1;
                        Ok(())
                    } else {
                        large += 1;
                        Err(*failure)
                    }
                },
                after,
            );
            let want = match after(*failure) {
                Verdict::NextRegion => (HPAGE_PMD_NR / 8, 0),
                Verdict::TrySmaller => (HPAGE_PMD_NR / 8, HPAGE_PMD_NR / 4),
                Verdict::Stop => (1, 0),
            };
            assert_eq!((large, small), want);
            assert_eq!(walked.any, small > 0);
            let stops = matches!(after(*failure), Verdict::Stop);
            let gone = matches!(failure, ScanResult::AnyProcess);
            assert_eq!(stops, gone);
        }
    }

    /// Nothing may be missing of a file, whatever the knob says.
    #[test]
    fn files_have_no_holes() {
        for none in [0, 100, HPAGE_PMD_NR as u32 - 1] {
            let limits = Policy::Khugepaged.limits_for(Order::MIN_ANON, none, 0, 0);
            let Limits { none, swap, shared } = limits.without_holes_if(true);
            assert_eq!((none, swap, shared), (0, 0, 0));
        }
    }
}
