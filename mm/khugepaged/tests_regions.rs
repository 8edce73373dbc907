// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the choice of regions: [`survey`](crate::survey) and [`walk`](crate::walk).

#![forbid(unsafe_code)]

use kernel::prelude::*;

#[kunit_tests(rust_khugepaged_regions)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            Limits,
            Policy, //
        },
        result::{
            Scan,
            ScanResult, //
        },
        survey::{
            Seen,
            SeenPage,
            Survey, //
        },
        walk::{
            walk,
            Verdict,
            Worth, //
        }, //
    };
    use kernel::mm::region::{
        Occupied,
        Order,
        Orders,
        PmdAddr,
        PteIndex,
        Region,
        HPAGE_PMD_NR,
        HPAGE_PMD_ORDER,
        HPAGE_PMD_SIZE, //
    };

    const NR: u32 = HPAGE_PMD_NR as u32;

    fn index(i: usize) -> PteIndex {
        PteIndex::new(i).unwrap_or(PteIndex::ZERO)
    }

    const PAGE: SeenPage = SeenPage {
        order: 0,
        shared: false,
        used: true,
        busy: None,
    };

    fn strict(order: Order) -> Limits {
        Policy::Khugepaged.limits_for(order, 0, 0, 0)
    }

    fn generous(order: Order) -> Limits {
        Policy::Khugepaged.limits_for(order, NR - 1, NR - 1, NR - 1)
    }

    /// A table as `see` describes it.
    fn survey(see: impl Fn(usize) -> Seen) -> Option<KVBox<Survey>> {
        let mut survey = KVBox::init(Survey::new(), GFP_KERNEL).ok()?;
        fill(&mut survey, see);
        Some(survey)
    }

    fn fill(survey: &mut Survey, see: impl Fn(usize) -> Seen) {
        survey.start();
        for i in 0..HPAGE_PMD_NR {
            survey.note(index(i), see(i));
        }
    }

    fn pages(occupied: impl Fn(usize) -> bool) -> impl Fn(usize) -> Seen {
        move |i| match occupied(i) {
            true => Seen::Page(PAGE),
            false => Seen::Empty,
        }
    }

    /// The regions that a walk tries, as (first, order).
    fn tried(
        survey: &Survey,
        orders: Orders,
        limits: impl Fn(Order) -> Limits,
        mut answer: impl FnMut(&Region) -> Scan,
    ) -> (KVec<(usize, u8)>, Scan) {
        let mut seen = KVec::new();
        let walked = walk(
            PmdAddr::align_down(HPAGE_PMD_SIZE),
            orders,
            |region| survey.judge(region, &limits(region.order()), Policy::Khugepaged),
            |region| {
                let _ = seen.push((region.first().get(), region.order().get()), GFP_KERNEL);
                answer(&region)
            },
        );
        (seen, walked.result())
    }

    fn order(order: u8) -> Orders {
        Order::new(order).map_or(Orders::EMPTY, Orders::only)
    }

    #[test]
    fn walk_of_the_pmd_order_tries_once() {
        let only = Orders::only(Order::PMD);
        let Some(full) = survey(pages(|_| true)) else {
            return;
        };
        let (seen, result) = tried(&full, only, strict, |_| Ok(()));
        assert_eq!(&*seen, &[(0, HPAGE_PMD_ORDER)]);
        assert_eq!(result, Ok(()));

        let (seen, result) = tried(&full, only, strict, |_| Err(ScanResult::PageCount));
        assert_eq!(seen.len(), 1);
        assert_eq!(result, Err(ScanResult::PageCount));

        let Some(empty) = survey(pages(|_| false)) else {
            return;
        };
        let (seen, result) = tried(&empty, only, generous, |_| Ok(()));
        assert_eq!(seen.len(), 0);
        assert_eq!(result, Err(ScanResult::Fail));
    }

    /// Swapped entries count as filled where they would be brought back, and are in the way
    /// elsewhere.
    #[test]
    fn swapped_entries_are_for_the_whole_table() {
        let Some(table) = survey(|i| match i % 16 {
            0 => Seen::Swapped,
            _ => Seen::Page(PAGE),
        }) else {
            return;
        };
        let (seen, _) = tried(&table, Orders::ALL_ANON, generous, |_| Ok(()));
        assert_eq!(&*seen, &[(0, HPAGE_PMD_ORDER)]);
        // The rest of each 16 pages can be had in regions of four.
        let (seen, _) = tried(&table, Orders::only(Order::MIN_ANON), generous, |_| Ok(()));
        assert_eq!(seen.len(), HPAGE_PMD_NR / 16 * 3);
        let (seen, result) = tried(&table, order(4), generous, |_| Ok(()));
        assert_eq!(seen.len(), 0);
        assert_eq!(result, Err(ScanResult::ExceedSwapPte));
    }

    #[test]
    fn walk_halves_until_a_region_is_full() {
        // The first 16 entries and one far away.
        let Some(table) = survey(pages(|i| i < 16 || i == 300)) else {
            return;
        };
        let (seen, result) = tried(&table, Orders::ALL_ANON, strict, |_| Ok(()));
        assert_eq!(&*seen, &[(0, 4)]);
        assert_eq!(result, Ok(()));

        // Orders that are not enabled are not tried.
        let small = Orders::only(Order::MIN_ANON);
        let (seen, _) = tried(&table, small, strict, |_| Ok(()));
        assert_eq!(&*seen, &[(0, 2), (4, 2), (8, 2), (12, 2)]);
    }

    #[test]
    fn walk_tells_a_failed_allocation_first() {
        let Some(full) = survey(pages(|_| true)) else {
            return;
        };
        let (seen, result) = tried(&full, Orders::ALL_ANON, strict, |region| {
            Err(match region.order() {
                Order::PMD => ScanResult::AllocHugePageFail,
                _ => ScanResult::VmaNull,
            })
        });
        // The second failure ends it.
        assert_eq!(seen.len(), 2);
        assert_eq!(result, Err(ScanResult::AllocHugePageFail));
    }

    /// What is in the way of one region of 16 does not matter to the others.
    #[test]
    fn trouble_stays_in_its_region() {
        let all = HPAGE_PMD_NR / 16;
        for trouble in [
            Seen::Blocked(ScanResult::PteUffd),
            Seen::Blocked(ScanResult::PageNull),
            Seen::Blocked(ScanResult::PageAnon),
            Seen::Blocked(ScanResult::PageLazyfree),
            Seen::Swapped,
            Seen::Empty,
            Seen::Page(SeenPage {
                shared: true,
                ..PAGE
            }),
            Seen::Page(SeenPage { order: 4, ..PAGE }),
            Seen::Page(SeenPage { order: 9, ..PAGE }),
            Seen::Page(SeenPage {
                busy: Some(ScanResult::PageCount),
                ..PAGE
            }),
            Seen::Page(SeenPage {
                busy: Some(ScanResult::PageLock),
                ..PAGE
            }),
            Seen::Page(SeenPage {
                busy: Some(ScanResult::PageLru),
                ..PAGE
            }),
        ] {
            let Some(table) = survey(|i| if i == 37 { trouble } else { Seen::Page(PAGE) }) else {
                return;
            };
            let (seen, result) = tried(&table, order(4), strict, |_| Ok(()));
            assert_eq!(seen.len(), all - 1);
            assert!(!seen.contains(&(32, 4)));
            assert_eq!(result, Ok(()));
            // With smaller regions, what is around it can be had, too; not if the folio is as large
            // as the larger one.
            let both = order(4).with(Order::MIN_ANON);
            let (seen, _) = tried(&table, both, strict, |_| Ok(()));
            let large = matches!(trouble, Seen::Page(SeenPage { order: 4.., .. }));
            assert_eq!(seen.len(), all - 1 + if large { 0 } else { 3 });
        }
    }

    /// A table that is as it should be is not touched.
    #[test]
    fn nothing_is_tried_twice() {
        let Some(table) = survey(|_| Seen::Page(SeenPage { order: 4, ..PAGE })) else {
            return;
        };
        let (seen, result) = tried(&table, order(4), generous, |_| Ok(()));
        assert_eq!(seen.len(), 0);
        assert_eq!(result, Err(ScanResult::Fail));
    }

    #[test]
    fn regions_that_nobody_uses_are_left_alone() {
        let Some(table) = survey(|i| {
            Seen::Page(SeenPage {
                used: (64..80).contains(&i),
                ..PAGE
            })
        }) else {
            return;
        };
        let (seen, _) = tried(&table, order(4), strict, |_| Ok(()));
        assert_eq!(&*seen, &[(64, 4)]);
        assert_eq!(
            table.judge(
                &Region::whole_table(PmdAddr::align_down(0)),
                &Limits::NONE,
                Policy::MadvCollapse
            ),
            Worth::Try
        );
    }

    /// What a walk ought to try, by recursion.
    fn recurse(
        occupied: &dyn Fn(usize) -> bool,
        orders: Orders,
        first: usize,
        order: Order,
        limit: &dyn Fn(Order) -> u32,
        seen: &mut KVec<(usize, u8)>,
    ) {
        let filled = (first..first + order.nr_pages())
            .filter(|i| occupied(*i))
            .count() as u32;
        if orders.contains(order) && filled + limit(order) >= order.nr_pages() as u32 {
            let _ = seen.push((first, order.get()), GFP_KERNEL);
        } else if order > Order::MIN_ANON {
            if let Some(half) = order.smaller() {
                recurse(occupied, orders, first, half, limit, seen);
                recurse(occupied, orders, first + half.nr_pages(), half, limit, seen);
            }
        }
    }

    fn agrees(survey: &mut Survey, orders: Orders, limit: u32, occupied: &dyn Fn(usize) -> bool) {
        fill(survey, pages(occupied));
        let limit = |o: Order| o.nr_pages() as u32 * limit / 8;
        let mut expected = KVec::new();
        recurse(occupied, orders, 0, Order::PMD, &limit, &mut expected);
        let limits = |order| Limits {
            none: limit(order),
            ..Limits::NONE
        };
        let (seen, _) = tried(survey, orders, limits, |_| Ok(()));
        assert_eq!(&*seen, &*expected);
    }

    /// Compares the walk with one that recurses, over many patterns and limits.
    #[test]
    fn walk_agrees_with_recursion() {
        let Some(mut table) = survey(|_| Seen::Empty) else {
            return;
        };
        let mut state: u32 = 1;
        for density in 1..16 {
            let mut random = Occupied::EMPTY;
            for i in 0..HPAGE_PMD_NR {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                if (state >> 16) % 16 < density {
                    random.set(index(i));
                }
            }
            for limit in [0, 1, 2, 4] {
                // Regions of two are for nobody; the walk stops at four.
                let orders = Orders::ALL_ANON;
                agrees(&mut table, orders, limit, &|i| random.contains(index(i)));
            }
        }
    }

    /// All patterns of eight entries, and all numbers of pages in four times four of them.
    #[test]
    fn walk_agrees_on_every_pattern_of_small_orders() {
        let Some(mut table) = survey(|_| Seen::Empty) else {
            return;
        };
        let small = order(2).with(Order::new(3).unwrap_or(Order::PMD));
        for pattern in 0..1usize << 8 {
            agrees(&mut table, small, 0, &|i| i < 8 && pattern >> i & 1 != 0);
            agrees(&mut table, small, 4, &|i| i < 8 && pattern >> i & 1 != 0);
        }
        let more = small.with(Order::new(4).unwrap_or(Order::PMD));
        for counts in 0..625usize {
            let count = |group: u32| counts / 5usize.pow(group) % 5;
            agrees(&mut table, more, 2, &|i| {
                i < 16 && i % 4 < count(i as u32 / 4)
            });
        }
    }

    #[test]
    fn weight_counts_each_entry_once() {
        let at = PmdAddr::align_down(0);
        let mut occupied = Occupied::EMPTY;
        let mut marked = 0;
        for i in (0..HPAGE_PMD_NR).step_by(3) {
            occupied.set(index(i));
            occupied.set(index(i));
            marked += 1;
        }
        for order in (0..=HPAGE_PMD_ORDER).filter_map(Order::new) {
            let sum: usize = (0..HPAGE_PMD_NR)
                .step_by(order.nr_pages())
                .filter_map(|i| Region::new(at, index(i), order))
                .map(|region| occupied.weight(&region))
                .sum();
            assert_eq!(sum, marked);
        }
    }

    #[test]
    fn verdicts_of_all_results() {
        let count = |v: Verdict| ScanResult::ALL.iter().filter(|r| r.verdict() == v).count();
        assert_eq!(count(Verdict::NextRegion), 1);
        assert_eq!(count(Verdict::TrySmaller), 12);
        assert_eq!(ScanResult::PteMappedHugepage.verdict(), Verdict::NextRegion);
        assert_eq!(ScanResult::PmdMapped.verdict(), Verdict::Stop);
        assert_eq!(ScanResult::CopyMc.verdict(), Verdict::Stop);
    }
}
