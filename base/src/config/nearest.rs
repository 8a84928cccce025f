//! The name that an unknown one was probably meant to be.

/// The candidate that is closest to `name`, within a third of its length in insertions, deletions,
/// replacements and swaps of neighbours; upper and lower case count as equal.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_ascii_lowercase().chars().take(MAX_NAME).collect();
    let limit = (name.len() / 3).max(1);
    candidates
        .map(|candidate| {
            let other: Vec<char> = candidate.to_ascii_lowercase().chars().collect();
            (distance(&name, &other), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The number of edits between two words, where a swap of neighbours is one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, &x) in (1..).zip(a) {
        let mut current = vec![row];
        for (column, &y) in b.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, column) + usize::from(x != y))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = column > 0 && previous == Some(y) && b.get(column - 1) == Some(&x);
            if swapped && x != y {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        previous = Some(x);
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

/// Longer names are compared by their beginning only: the effort grows with the product of lengths.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted() {
        for (a, b, want) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("path", "paths", 1),
            ("kitten", "sitting", 3),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), want, "{a} {b}");
        }
    }

    #[test]
    fn only_a_close_name_is_suggested() {
        let names = || ["mechanisms", "path", "mode"].into_iter();
        assert_eq!(nearest("Mechanism", names()), Some("mechanisms"));
        assert_eq!(nearest("mdoe", names()), Some("mode"));
        assert_eq!(nearest("colour", names()), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names()), None);
    }
}
