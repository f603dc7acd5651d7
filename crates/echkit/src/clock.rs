//! The time, as whatever keeps things asks for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where caches take the time from: the machine, or a test.
#[derive(Clone, Default)]
pub struct Clock {
    by_hand: Option<Arc<ByHand>>,
}

struct ByHand {
    start: Moment,
    ahead: Mutex<Duration>,
}

impl Clock {
    /// A clock that stands still until [`advance`](Self::advance) moves it, and its clones with it.
    pub fn by_hand() -> Self {
        Self {
            by_hand: Some(Arc::new(ByHand {
                start: Moment::now(),
                ahead: Mutex::default(),
            })),
        }
    }

    /// Moves a clock that stands still. The machine's own is not moved.
    pub fn advance(&self, by: Duration) {
        if let Some(clock) = &self.by_hand {
            let mut ahead = clock.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            *ahead = ahead.saturating_add(by);
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        match &self.by_hand {
            None => Moment::now(),
            Some(clock) => {
                let ahead = *clock.ahead.lock().unwrap_or_else(PoisonError::into_inner);
                clock.start.plus(ahead)
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by_hand {
            None => "Clock",
            Some(_) => "Clock(by hand)",
        })
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn plus(self, duration: Duration) -> Self {
        Self {
            steady: self.steady.checked_add(duration).unwrap_or(self.steady),
            wall: self.wall.checked_add(duration).unwrap_or(self.wall),
        }
    }

    /// How much time has passed since an earlier moment.
    ///
    /// A steady clock stands still while the machine sleeps, and that on the wall is set back now
    /// and then. The one that went further is right: what is kept never lives too long.
    pub fn since(self, earlier: Self) -> Duration {
        let steady = self.steady.saturating_duration_since(earlier.steady);
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        steady.max(wall)
    }

    /// The time of day, for what is kept longer than the program runs.
    pub fn wall(self) -> SystemTime {
        self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_lives() {
        let then = Moment::now();
        let later = then.plus(Duration::from_secs(10));
        let set_back = Moment {
            wall: then.wall - Duration::from_secs(3600),
            ..later
        };
        let slept = Moment {
            steady: then.steady,
            ..later
        };
        for now in [later, set_back, slept] {
            assert_eq!(now.since(then), Duration::from_secs(10));
        }
        assert_eq!(then.since(later), Duration::ZERO);
    }

    #[test]
    fn a_clock_by_hand_moves_with_its_clones_alone() {
        let clock = Clock::by_hand();
        let start = clock.clone().now();
        assert_eq!(clock.now().since(start), Duration::ZERO);
        clock.clone().advance(Duration::from_secs(60));
        assert_eq!(clock.now().since(start), Duration::from_secs(60));
    }
}
