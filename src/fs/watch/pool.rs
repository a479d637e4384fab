//! Applies a function to many directories, on several threads if that is worth it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Applies `work` to each of `items`, with a state of its own for each thread; the results are in the order of the items.
pub(super) fn each<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    /// The number of items that are worth a thread.
    const SHARE: usize = 32;
    /// The number of items that a thread takes at once.
    const TAKE: usize = 8;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(8).min(items.len() / SHARE);
    if threads < 2 {
        let mut state = state();
        return items.iter().map(|item| work(&mut state, item)).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let work_on = || {
        let mut state = state();
        let mut done = Vec::new();
        loop {
            let from = next.fetch_add(TAKE, Ordering::Relaxed);
            let Some(some) = items.get(from..) else { break };
            if some.is_empty() {
                break;
            }
            done.extend((from..).zip(some.iter().take(TAKE)).map(|(place, item)| (place, work(&mut state, item))));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut done);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If no thread can be started, the others do its work.
            let _ = std::thread::Builder::new().name("appmon-watch".to_owned()).spawn_scoped(scope, work_on);
        }
        work_on();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
