//! Time as a key directory counts it: never faster than real time.
//!
//! A wall clock that jumps ahead would retire keys that clients still use. So a directory has an
//! age of its own, in milliseconds. A machine that has seen the directory before, since its last
//! start, adds what its monotonic clock counted; one that has not, adds what the wall clock says,
//! but no less than nothing and no more than a limit. Machines that share a directory agree, since
//! each one's count is a lower bound.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How many starts of machines a directory remembers.
const MAX_BOOTS: usize = 16;

/// The clocks of this machine at one moment.
#[derive(Clone, Debug)]
pub(super) struct ClockReading {
    /// Names the start of the machine that `monotonic` counts from.
    pub(super) boot: String,
    pub(super) monotonic_ms: u64,
    pub(super) wall_ms: u64,
}

impl ClockReading {
    pub(super) fn now() -> Self {
        let wall = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let (boot, monotonic_ms) = since_boot().unwrap_or_else(since_process_start);
        Self {
            boot,
            monotonic_ms,
            wall_ms: wall.map_or(0, millis),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The kernel's name for its start, and the time since then, with the time asleep.
#[cfg(target_os = "linux")]
fn since_boot() -> Option<(String, u64)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // SECONDS.HUNDREDTHS IDLE
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = uptime.split_once('.')?;
    let hundredths: u64 = rest.get(..2)?.parse().ok()?;
    let uptime_ms = seconds.parse::<u64>().ok()? * 1000 + hundredths * 10;
    Some((boot.trim().to_owned(), uptime_ms))
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<(String, u64)> {
    None
}

/// Where the machine's start has no name, that of the process counts.
fn since_process_start() -> (String, u64) {
    static START: LazyLock<(String, Instant)> = LazyLock::new(|| {
        let name = format!("process-{:032x}", rand::random::<u128>());
        (name, Instant::now())
    });
    (START.0.clone(), millis(START.1.elapsed()))
}

/// The age of a directory, and what each machine needs to go on counting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectoryClock {
    /// How long the directory has been in use, as far as is certain.
    pub(super) age_ms: u64,
    /// The wall clock when it was last written.
    wall_ms: u64,
    /// For each start of a machine, its monotonic clock at an age of the directory.
    boots: BTreeMap<String, Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    monotonic_ms: u64,
    age_ms: u64,
}

impl DirectoryClock {
    /// Counts on. `limit_ms` bounds what the wall clock of an unknown start may add.
    pub(super) fn advance(&mut self, now: &ClockReading, limit_ms: u64) {
        let age = match self.boots.get(&now.boot) {
            Some(mark) => mark.age_ms + now.monotonic_ms.saturating_sub(mark.monotonic_ms),
            None if self.boots.is_empty() => 0,
            None => self.age_ms + now.wall_ms.saturating_sub(self.wall_ms).min(limit_ms),
        };
        self.age_ms = self.age_ms.max(age);
        self.wall_ms = now.wall_ms;
        let mark = Mark {
            monotonic_ms: now.monotonic_ms,
            age_ms: self.age_ms,
        };
        self.boots.insert(now.boot.clone(), mark);
        while self.boots.len() > MAX_BOOTS {
            let oldest = self.boots.iter().min_by_key(|(_, mark)| mark.age_ms);
            let Some(boot) = oldest.map(|(boot, _)| boot.clone()) else {
                break;
            };
            self.boots.remove(&boot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 3_600_000;

    fn reading(boot: &str, monotonic_ms: u64, wall_ms: u64) -> ClockReading {
        ClockReading {
            boot: boot.to_owned(),
            monotonic_ms,
            wall_ms,
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_changes_nothing() {
        let mut clock = DirectoryClock::default();
        clock.advance(&reading("a", 1_000, 50_000), LIMIT);
        clock.advance(&reading("a", 6_000, 900_000_000_000), LIMIT);
        assert_eq!(clock.age_ms, 5_000);
        clock.advance(&reading("a", 7_000, 1), LIMIT);
        assert_eq!(clock.age_ms, 6_000);
    }

    #[test]
    fn after_a_restart_the_wall_clock_counts_within_limits() {
        let mut clock = DirectoryClock::default();
        clock.advance(&reading("a", 0, 1_000_000), LIMIT);
        clock.advance(&reading("b", 0, 1_010_000), LIMIT);
        assert_eq!(clock.age_ms, 10_000);
        clock.advance(&reading("c", 0, 5), LIMIT);
        assert_eq!(clock.age_ms, 10_000);
        clock.advance(&reading("d", 0, 900_000_000_000), LIMIT);
        assert_eq!(clock.age_ms, 10_000 + LIMIT);
    }

    #[test]
    fn machines_whose_clocks_differ_count_no_faster_than_time() {
        let mut clock = DirectoryClock::default();
        // The second machine's wall clock is 50 seconds behind.
        for second in 0..100 {
            clock.advance(
                &reading("a", second * 1_000, 100_000 + second * 1_000),
                LIMIT,
            );
            clock.advance(
                &reading("b", 7 + second * 1_000, 50_000 + second * 1_000),
                LIMIT,
            );
        }
        assert_eq!(clock.age_ms, 99_000);
    }

    #[test]
    fn only_so_many_starts_are_remembered() {
        let mut clock = DirectoryClock::default();
        for boot in 0..100 {
            clock.advance(&reading(&format!("{boot:03}"), 0, boot * 1_000), LIMIT);
        }
        assert_eq!(clock.boots.len(), MAX_BOOTS);
        assert!(clock.boots.contains_key("099"));
    }
}
