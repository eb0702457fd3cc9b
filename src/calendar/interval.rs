//! The algebra of busy time: half-open intervals over instants. Pure.

use std::cmp::Reverse;

use crate::model::calendar::Interval;

/// Sorts intervals and joins those that overlap or touch. Time is busy or it is not, however many events take it.
pub fn merge(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable_by_key(|interval| (interval.start, Reverse(interval.end)));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match merged.last_mut() {
            Some(last) if interval.start <= last.end => last.end = last.end.max(interval.end),
            _ => merged.push(interval),
        }
    }
    merged
}

/// Returns what of a window none of the intervals takes. They must be sorted and disjoint, as [`merge`] leaves them.
pub fn gaps(window: Interval, busy: &[Interval]) -> Vec<Interval> {
    let mut free = Vec::new();
    let mut start = window.start;
    for interval in busy.iter().filter(|interval| interval.intersection(window).is_some()) {
        free.extend(Interval::new(start, interval.start));
        start = start.max(interval.end);
    }
    free.extend(Interval::new(start, window.end));
    free
}

/// Returns every pair of overlapping intervals by their places, the earlier first, in the order of their starts.
pub fn overlaps(intervals: &[Interval]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|place| (intervals[*place].start, *place));
    let mut open: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for place in order {
        open.retain(|earlier| intervals[*earlier].end > intervals[place].start);
        pairs.extend(open.iter().map(|earlier| (*earlier, place)));
        open.push(place);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn interval(start: i64, end: i64) -> Interval {
        let at = |second| Timestamp::from_second(second).unwrap();
        Interval { start: at(start), end: at(end) }
    }

    #[test]
    fn what_touches_is_joined_and_does_not_overlap() {
        assert_eq!(merge(vec![interval(5, 9), interval(1, 3), interval(3, 5)]), [interval(1, 9)]);
        assert_eq!(overlaps(&[interval(1, 3), interval(3, 5)]), []);
        assert_eq!(overlaps(&[interval(4, 6), interval(1, 9), interval(5, 7)]), [(1, 0), (1, 2), (0, 2)]);
        assert_eq!(gaps(interval(0, 10), &[interval(-2, 1), interval(4, 6)]), [interval(1, 4), interval(6, 10)]);
        assert_eq!(gaps(interval(0, 10), &[]), [interval(0, 10)]);
        assert_eq!(gaps(interval(0, 10), &[interval(0, 10)]), []);
    }

    fn any_intervals() -> impl Strategy<Value = Vec<Interval>> {
        proptest::collection::vec(
            (0_i64..60, 1_i64..20).prop_map(|(start, length)| interval(start, start + length)),
            0..12,
        )
    }

    proptest! {
        /// Second by second, against counting.
        #[test]
        fn busy_and_free_are_what_counting_says(intervals in any_intervals()) {
            let window = interval(5, 55);
            let busy = merge(intervals.clone());
            let free = gaps(window, &busy);
            prop_assert!(busy.windows(2).all(|pair| pair[0].end < pair[1].start));
            for second in 0..80 {
                let covers = |list: &[Interval]| list.iter().any(|one| one.intersection(interval(second, second + 1)).is_some());
                prop_assert_eq!(covers(&busy), covers(&intervals), "{}", second);
                prop_assert_eq!(covers(&free), (5..55).contains(&second) && !covers(&intervals), "{}", second);
            }
            let mut pairs: Vec<_> = overlaps(&intervals).into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            pairs.sort_unstable();
            let expected: Vec<_> = (0..intervals.len())
                .flat_map(|a| (a + 1..intervals.len()).map(move |b| (a, b)))
                .filter(|(a, b)| intervals[*a].intersection(intervals[*b]).is_some())
                .collect();
            prop_assert_eq!(pairs, expected);
        }
    }
}
