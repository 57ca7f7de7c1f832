//! Which items of which requests a step takes.

/// A request that waits, as far as its share of a step depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting<'a> {
    /// Tokens of its items that have not been taken yet, in their order; never empty.
    pub(super) left: &'a [usize],
}

/// How many items of each request a step of about `budget` tokens takes. `waiting` is in the order of arrival.
///
/// The first half goes to the requests with the fewest tokens left, the rest to those that came first. An item that does not fit waits
/// for another step; but the first item of the request that came first is always taken, so that whatever is long comes to its turn.
pub(super) fn share(waiting: &[Waiting<'_>], budget: usize) -> Vec<usize> {
    let mut taken = vec![0; waiting.len()];
    let mut used = 0;
    let mut take = |request: usize, limit: usize, used: &mut usize| {
        while let Some(&tokens) = waiting[request].left.get(taken[request])
            && *used + tokens <= limit
        {
            taken[request] += 1;
            *used += tokens;
        }
    };
    let mut shortest: Vec<usize> = (0..waiting.len()).collect();
    // A stable sort: of equals the one that came first.
    shortest.sort_by_cached_key(|&request| waiting[request].left.iter().sum::<usize>());
    for request in shortest {
        if used >= budget / 2 {
            break;
        }
        take(request, budget / 2, &mut used);
    }
    for request in 0..waiting.len() {
        if used >= budget {
            break;
        }
        take(request, budget, &mut used);
    }
    if let (Some(first), Some(count)) = (waiting.first(), taken.first_mut())
        && *count == 0
        && !first.left.is_empty()
    {
        *count = 1;
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(requests: &[&[usize]], budget: usize) -> Vec<usize> {
        share(&requests.iter().map(|&left| Waiting { left }).collect::<Vec<_>>(), budget)
    }

    #[test]
    fn a_short_request_passes_long_ones() {
        let long = [512; 8];
        assert_eq!(shares(&[&long, &long, &[10]], 1024), [1, 0, 1]);
    }

    #[test]
    fn one_caller_with_many_short_texts_does_not_hold_up_another() {
        let many = [10; 2000];
        assert_eq!(shares(&[&many, &[10]], 100), [9, 1]);
    }

    #[test]
    fn what_came_first_goes_on_however_much_is_shorter() {
        let short: Vec<&[usize]> = vec![&[10]; 500];
        let requests = [&[&[900_usize][..]], &short[..]].concat();
        let shares = shares(&requests, 1000);
        assert_eq!(shares[0], 1);
        assert!(shares[1..].iter().sum::<usize>() >= 50);
    }

    #[test]
    fn a_text_that_is_longer_than_a_step_is_one() {
        assert_eq!(shares(&[&[5000, 10]], 1000), [1]);
    }

    proptest! {
        #[test]
        fn every_step_advances_the_first_request_and_stays_near_the_budget(
            requests in prop::collection::vec(prop::collection::vec(1_usize..600, 1..20), 1..40),
            budget in 1_usize..3000,
        ) {
            let waiting: Vec<_> = requests.iter().map(|left| Waiting { left }).collect();
            let taken = share(&waiting, budget);
            prop_assert!(taken[0] > 0);
            let tokens: usize = taken.iter().zip(&requests).map(|(&count, left)| left[..count].iter().sum::<usize>()).sum();
            prop_assert!(tokens <= budget + requests[0][0]);
            // Nothing that would have fitted is left waiting.
            let left = taken.iter().zip(&requests).filter_map(|(&count, left)| left.get(count)).min();
            prop_assert!(left.is_none_or(|&least| tokens + least > budget));
        }
    }
}
