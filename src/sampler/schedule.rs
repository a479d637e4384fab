//! When the ticks are due. Clocks are arguments.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior};

/// When the ticks are due.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) period: Duration,
    pub(super) missed: MissedTickBehavior,
    pub(super) jitter: Duration,
    pub(super) aligned: bool,
    /// When the next tick is due, without jitter.
    next: Next,
    /// The jitter of the next tick.
    delay: Duration,
    seq: u64,
}

/// When the next tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The schedule has not started.
    First,
    At(Instant),
    /// Not within the time that the clock can count.
    Never,
}

impl From<Option<Instant>> for Next {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Self::Never, Self::At)
    }
}

/// A tick that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) seq: u64,
    pub(super) lag: Duration,
}

/// A tick this late is not missed, only late: the timer's own resolution is a millisecond.
const ON_TIME: Duration = Duration::from_millis(5);

impl Schedule {
    pub(super) fn new(period: Duration) -> Self {
        Self {
            period,
            missed: MissedTickBehavior::Skip,
            jitter: Duration::ZERO,
            aligned: false,
            next: Next::First,
            delay: Duration::ZERO,
            seq: 0,
        }
    }

    /// When the next tick is due, jitter included; `None` for never. The first call starts the schedule.
    pub(super) fn due(&mut self, wall: SystemTime) -> Option<Instant> {
        if self.next == Next::First {
            let wait = if self.aligned { until_multiple(wall, self.period) } else { Duration::ZERO };
            self.delay = self.draw();
            self.next = Instant::now().checked_add(wait).into();
        }
        match self.next {
            Next::At(next) => next.checked_add(self.delay),
            Next::First | Next::Never => None,
        }
    }

    /// Takes the tick that is due by now, and plans the one after it.
    pub(super) fn tick(&mut self, now: Instant, wall: SystemTime) -> Tick {
        let scheduled = if let Next::At(next) = self.next { next } else { now };
        let late = now.saturating_duration_since(scheduled).saturating_sub(self.delay);
        let missed = if late > ON_TIME { whole_periods(late, self.period) } else { 0 };
        let (skipped, next) = match self.missed {
            MissedTickBehavior::Delay if late > ON_TIME => (0, now.checked_add(self.period)),
            MissedTickBehavior::Burst | MissedTickBehavior::Delay => (0, scheduled.checked_add(self.period)),
            // Skip, and what tokio may add: this is the newest of the ticks that are due, the others are left out.
            _ => (missed, scheduled.checked_add(periods(missed.saturating_add(1), self.period))),
        };
        let tick =
            Tick { seq: self.seq.saturating_add(skipped), lag: late.saturating_sub(periods(skipped, self.period)) };
        self.seq = tick.seq.saturating_add(1);
        self.next = next.map(|next| if self.aligned { self.align(next, now, wall) } else { next }).into();
        self.delay = self.draw();
        tick
    }

    /// The multiple of the period nearest to `next` by the wall clock as it is now.
    fn align(&self, next: Instant, now: Instant, wall: SystemTime) -> Instant {
        let ahead = next.saturating_duration_since(now);
        let Some(then) = wall.checked_add(ahead) else { return next };
        let to = until_multiple(then, self.period);
        let back = self.period.saturating_sub(to);
        let aligned = if to <= back { next.checked_add(to) } else { next.checked_sub(back) };
        match aligned {
            Some(aligned) if aligned > now => aligned,
            _ => next,
        }
    }

    fn draw(&self) -> Duration {
        let most = crate::time::duration_nanos(self.jitter);
        if most == 0 { Duration::ZERO } else { Duration::from_nanos(fastrand::u64(0..=most)) }
    }
}

/// How long until the wall clock shows a multiple of `period`.
fn until_multiple(wall: SystemTime, period: Duration) -> Duration {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match since.as_nanos().checked_rem(period.as_nanos()) {
        None | Some(0) => Duration::ZERO,
        Some(over) => period.saturating_sub(from_nanos(over)),
    }
}

fn periods(count: u64, period: Duration) -> Duration {
    from_nanos(u128::from(count).saturating_mul(period.as_nanos()))
}

/// The longest duration there is where it would be longer.
fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let (seconds, rest) = (nanos.checked_div(SECOND), nanos.checked_rem(SECOND));
    let seconds = u64::try_from(seconds.unwrap_or(0));
    let rest = u32::try_from(rest.unwrap_or(0)).unwrap_or(0);
    seconds.map_or(Duration::MAX, |seconds| Duration::new(seconds, rest))
}

fn whole_periods(late: Duration, period: Duration) -> u64 {
    u64::try_from(late.as_nanos().checked_div(period.as_nanos()).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The wall clock at this many milliseconds after a full minute.
    fn wall(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + 1_000_000 * MINUTE + Duration::from_millis(millis)
    }

    #[test]
    fn until_the_next_multiple() {
        assert_eq!(until_multiple(wall(0), MINUTE), Duration::ZERO, "this is one");
        assert_eq!(until_multiple(wall(1), MINUTE), Duration::from_millis(59_999));
        assert_eq!(until_multiple(wall(59_999), MINUTE), Duration::from_millis(1));
        assert_eq!(until_multiple(SystemTime::UNIX_EPOCH - MINUTE, MINUTE), Duration::ZERO, "before 1970 is 1970");
        // Longer than the time since 1970, and than 64 bits of nanoseconds.
        let since_1970 = Duration::from_secs(60_000_000);
        assert_eq!(until_multiple(wall(0), Duration::MAX), Duration::MAX - since_1970);
        assert_eq!(until_multiple(wall(0), since_1970 * 3), since_1970 * 2);
        let millennium = Duration::from_secs(1000 * 365 * 86_400);
        assert_eq!(until_multiple(wall(1), millennium), millennium - since_1970 - Duration::from_millis(1));
    }

    /// Takes a tick this long after `start`, when the wall clock shows `wall_millis`; returns when the next is due after `start`.
    fn aligned_tick(schedule: &mut Schedule, start: Instant, after: u64, wall_millis: u64) -> Duration {
        schedule.tick(start + Duration::from_millis(after), wall(wall_millis));
        at(schedule.next) - start
    }

    fn at(next: Next) -> Instant {
        if let Next::At(at) = next { at } else { panic!("{next:?}") }
    }

    #[tokio::test(start_paused = true)]
    async fn aligned_ticks_follow_the_wall_clock() {
        let start = Instant::now();
        let mut schedule = Schedule { aligned: true, ..Schedule::new(MINUTE) };
        assert_eq!(schedule.due(wall(45_000)).unwrap() - start, Duration::from_secs(15));
        // Undisturbed: a minute apart.
        assert_eq!(aligned_tick(&mut schedule, start, 15_000, 60_000), Duration::from_secs(75));
        // The wall clock lost 10 s, as by a step back: the full minute comes 10 s later.
        assert_eq!(aligned_tick(&mut schedule, start, 75_000, 110_000), Duration::from_secs(145));
        // It gained 10 s: the next full minute comes 10 s earlier, and not another at once.
        assert_eq!(aligned_tick(&mut schedule, start, 145_000, 190_000), Duration::from_secs(195));
        // It runs a trifle fast or slow: the tick stays the one of that minute, and none comes twice.
        assert_eq!(aligned_tick(&mut schedule, start, 195_000, 239_999), Duration::from_millis(255_001));
        assert_eq!(aligned_tick(&mut schedule, start, 255_001, 300_002), Duration::from_millis(314_999));
        assert_eq!(schedule.seq, 5, "no step of the clock is a missed tick");
    }

    #[tokio::test(start_paused = true)]
    async fn an_aligned_tick_that_is_late_leaves_the_minute() {
        let start = Instant::now();
        let mut schedule = Schedule { aligned: true, ..Schedule::new(MINUTE) };
        schedule.due(wall(0));
        let tick = schedule.tick(start + Duration::from_secs(130), wall(130_000));
        assert_eq!(tick, Tick { seq: 2, lag: Duration::from_secs(10) });
        assert_eq!(at(schedule.next) - start, Duration::from_secs(180));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_no_lag_and_does_not_add_up() {
        let start = Instant::now();
        let mut schedule = Schedule { jitter: Duration::from_secs(1), ..Schedule::new(MINUTE) };
        for number in 0..1000_u32 {
            let due = schedule.due(wall(0)).unwrap();
            let base = start + MINUTE * number;
            assert!((base..=base + Duration::from_secs(1)).contains(&due));
            assert_eq!(schedule.tick(due, wall(0)), Tick { seq: number.into(), lag: Duration::ZERO });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_never_due() {
        let start = Instant::now();
        for missed in [MissedTickBehavior::Skip, MissedTickBehavior::Delay, MissedTickBehavior::Burst] {
            for late in [Duration::ZERO, Duration::from_secs(3600)] {
                let mut schedule = Schedule { missed, ..Schedule::new(Duration::MAX) };
                assert_eq!(schedule.due(wall(1)), Some(start));
                assert_eq!(schedule.tick(start + late, wall(1)), Tick { seq: 0, lag: late });
                assert_eq!((schedule.next, schedule.due(wall(1))), (Next::Never, None));
            }
        }
        let mut schedule = Schedule { aligned: true, ..Schedule::new(Duration::MAX) };
        assert_eq!(schedule.due(wall(1)), None, "the next multiple is beyond the end of time");
        let mut schedule = Schedule { jitter: Duration::MAX, ..Schedule::new(Duration::MAX) };
        assert!(schedule.due(wall(1)).is_none_or(|due| due >= start));
        // Far away is not never.
        let year = Duration::from_secs(365 * 86_400);
        let mut schedule = Schedule::new(1000 * year);
        schedule.tick(start, wall(0));
        assert_eq!(schedule.due(wall(0)), Some(start + 1000 * year));
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_periods_are_counted() {
        // Periods shorter than what counts as late, and far more missed ones than 32 bits hold.
        let mut schedule = Schedule::new(Duration::from_nanos(1));
        schedule.due(wall(0));
        let tick = schedule.tick(Instant::now() + Duration::from_secs(3600), wall(0));
        assert_eq!(tick, Tick { seq: 3_600_000_000_000, lag: Duration::ZERO });
    }
}
