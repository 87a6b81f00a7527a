//! The faults of a run, and their reduction to a short list that still shows what was found.

use crate::fault::{Fault, FaultError};

/// Faults of a run, by time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Schedule {
    faults: Vec<Fault>,
}

/// The result of [`shrink`] with its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk<T> {
    /// The items that are left.
    pub items: Vec<T>,
    /// Number of runs that it took.
    pub runs: usize,
    /// True when no single item can be left out; false when the limit of runs came first.
    pub is_minimal: bool,
}

impl Schedule {
    /// The faults in `faults`, sorted by time.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.at, fault.kind, fault.target));
        Self { faults }
    }

    /// All faults, by time.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Text of the schedule: a line for each fault.
    pub fn to_text(&self) -> String {
        self.faults
            .iter()
            .map(|fault| format!("{fault}\n"))
            .collect()
    }

    /// Reads a schedule. Empty lines and lines that begin with `#` are ignored.
    pub fn from_text(text: &str) -> Result<Self, FaultError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self::new(
            lines
                .map(str::parse::<Fault>)
                .collect::<Result<Vec<_>, _>>()?,
        ))
    }

    /// A shorter schedule for which `fails` is still true, after at most `max_runs` calls.
    pub fn shrink(
        &self,
        max_runs: usize,
        mut fails: impl FnMut(&Schedule) -> bool,
    ) -> Shrunk<Fault> {
        shrink(&self.faults, max_runs, |faults| {
            fails(&Schedule::new(faults.to_vec()))
        })
    }
}

/// Leaves out items of `items` as long as `fails` stays true: the algorithm ddmin (Zeller and Hildebrandt, "Simplifying
/// and Isolating Failure-Inducing Input", 2002). `fails` must be true for `items` and must depend on nothing else.
pub fn shrink<T: Clone>(
    items: &[T],
    max_runs: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Shrunk<T> {
    let (mut left, mut runs, mut parts) = (items.to_vec(), 0, 2);
    while !left.is_empty() {
        let size = left.len().div_ceil(parts);
        let shorter = first_failing(&left, size, &mut |items: &[T]| {
            runs += 1;
            runs <= max_runs && fails(items)
        });
        if runs > max_runs {
            return Shrunk {
                items: shorter.unwrap_or(left),
                runs: max_runs,
                is_minimal: false,
            };
        }
        match shorter {
            Some(shorter) => {
                left = shorter;
                parts = (parts - 1).max(2);
            }
            None if size <= 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    Shrunk {
        items: left,
        runs,
        is_minimal: true,
    }
}

/// The first part of `size` items that fails alone, or else the first rest without one part that fails.
fn first_failing<T: Clone>(
    items: &[T],
    size: usize,
    fails: &mut impl FnMut(&[T]) -> bool,
) -> Option<Vec<T>> {
    if size < items.len() {
        let alone = items.chunks(size).find(|part| fails(part));
        if let Some(part) = alone {
            return Some(part.to_vec());
        }
    }
    (0..items.len()).step_by(size).find_map(|start| {
        let end = (start + size).min(items.len());
        let rest = [&items[..start], &items[end..]].concat();
        fails(&rest).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Time;
    use crate::fault::FaultKind;
    use crate::rng::Seed;

    #[test]
    fn only_what_is_needed_is_left_wherever_it_is() {
        let items: Vec<u32> = (0..40).collect();
        let mut rng = Seed(5).stream("needed");
        for count in 0..5 {
            let mut needed: Vec<u32> = (0..count).map(|_| rng.below(40) as u32).collect();
            needed.sort_unstable();
            needed.dedup();
            let shrunk = shrink(&items, 1_000, |items| {
                needed.iter().all(|one| items.contains(one))
            });
            assert_eq!(shrunk.items, needed);
            assert!(shrunk.is_minimal);
        }
    }

    #[test]
    fn a_limit_of_runs_ends_early_with_what_still_fails() {
        let items: Vec<u32> = (0..64).collect();
        for max_runs in 0..60 {
            let fails = |items: &[u32]| items.contains(&17) && items.contains(&50);
            let mut runs = 0;
            let shrunk = shrink(&items, max_runs, |items| {
                runs += 1;
                fails(items)
            });
            assert!(fails(&shrunk.items));
            assert!(runs <= max_runs && shrunk.runs <= max_runs);
            assert!(!shrunk.is_minimal || shrunk.items == [17, 50]);
        }
    }

    #[test]
    fn a_schedule_is_sorted_and_read_back() {
        let fault = |ms, kind| Fault {
            at: Time::from_ms(ms),
            kind,
            target: 1,
            amount: 2,
            lasts: Duration::from_millis(3),
        };
        let schedule = Schedule::new(vec![
            fault(5, FaultKind::Cut),
            fault(1, FaultKind::Loss),
            fault(5, FaultKind::Delay),
        ]);
        let text = schedule.to_text();
        assert_eq!(
            text,
            "1000 loss 1 2 3000\n5000 delay 1 2 3000\n5000 cut 1 2 3000\n"
        );
        let commented = format!("# found by seed 7\n\n{text}");
        assert_eq!(Schedule::from_text(&commented), Ok(schedule.clone()));
        assert!(Schedule::from_text("loss").is_err());
        let shrunk = schedule.shrink(100, |schedule| {
            schedule
                .faults()
                .iter()
                .any(|fault| fault.kind == FaultKind::Cut)
        });
        assert_eq!(shrunk.items, [fault(5, FaultKind::Cut)]);
    }
}
